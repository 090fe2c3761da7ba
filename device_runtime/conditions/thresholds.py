"""The owner's thresholds: `[conditions]` in `<data directory>/device.toml`, overridable by a command's options."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

SETTINGS_FILE = "device.toml"
Network = Literal["auto", "unmetered", "metered"]

_BOUNDS: dict[str, tuple[float, float]] = {
    "minimum_battery_percent": (0, 100),
    "idle_minutes": (0, 24 * 60),
    "maximum_load": (0, math.inf),
    "maximum_temperature_c": (0, math.inf),
    "maximum_battery_temperature_c": (0, math.inf),
}


class InvalidSettings(Exception):
    """A settings file or an option that says something impossible."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What readings are held against.

    Attributes:
      minimum_battery_percent: charge at which training may begin, in [0, 100]. No battery counts as full.
      idle_minutes: minutes since the last keystroke, in [0, 1440].
      maximum_load: run queue of others, as the kernel's average over a minute; `inf` leaves the load out.
      maximum_temperature_c: of the hottest sensor; `inf` switches the limit off, also where no sensor can be read.
      maximum_battery_temperature_c: of a phone's battery, likewise.
      network: "auto" asks the system; "unmetered" or "metered" is the owner's word where the system cannot tell.

    Raises:
      InvalidSettings: a value has the wrong type or is out of its bound.

    """

    minimum_battery_percent: float = 50.0
    idle_minutes: float = 5.0
    maximum_load: float = 0.5
    maximum_temperature_c: float = 75.0
    maximum_battery_temperature_c: float = 40.0
    network: Network = "auto"

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise InvalidSettings(f"{name} must be a number in [{least}, {most}], got {value!r}")
        if self.network not in get_args(Network):
            raise InvalidSettings(f"network must be one of {', '.join(get_args(Network))}, got {self.network!r}")


def load_thresholds(data_directory: Path, overrides: Mapping[str, Any] | None = None) -> Thresholds:
    """Reads the settings file, if there is one.

    Args:
      data_directory: holds the file.
      overrides: values by attribute name that go before the file's; None stands for "not given".

    Raises:
      InvalidSettings: no TOML, an unknown name, or a value out of its bound.

    """
    settings = _settings(data_directory / SETTINGS_FILE)
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    known = {field.name for field in dataclasses.fields(Thresholds)}
    for name in settings.keys() | given.keys():
        if name not in known:
            raise InvalidSettings(f"a setting of [conditions] must be one of {', '.join(sorted(known))}, got {name!r}")
    return Thresholds(**(settings | given))


def _settings(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} must be TOML: {error}") from None
    table = document.get("conditions", {})
    if not isinstance(table, dict):
        raise InvalidSettings(f"conditions in {path} must be a table, got {type(table).__name__}")
    return table
