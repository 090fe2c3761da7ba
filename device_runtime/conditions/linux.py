"""Conditions of a Linux machine: power and temperature by psutil, the network by NetworkManager over D-Bus."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from device_runtime.conditions.idle import IdleProbe
from device_runtime.conditions.interface import Conditions, Reading, Unreadable, gather
from device_runtime.conditions.network_manager import NetworkManager
from device_runtime.conditions.probes import charge, declared_network, no_limit, plausible, temperature
from device_runtime.conditions.thresholds import Thresholds

POWER_SUPPLIES = Path("/sys/class/power_supply")


class LinuxConditions:
    """A Raspberry Pi, a laptop or a desktop."""

    def __init__(
        self,
        data_directory: Path,
        thresholds: Thresholds,
        *,
        clock: Callable[[], float] = time.time,
        idle: Callable[[], Reading] | None = None,
        network_manager: NetworkManager | None = None,
    ):
        self._thresholds = thresholds
        self._idle = idle or IdleProbe(data_directory, thresholds, clock)
        self._network_manager = network_manager or NetworkManager()

    def read(self) -> Conditions:
        """The conditions of this moment. May take as long as NetworkManager does to answer."""
        return gather(
            {
                "idle": self._idle,
                "charging": self._charging,
                "unmetered": lambda: declared_network(self._thresholds) or self._network_manager.read(),
                "charged": self._charged,
                "cool": self._cool,
            }
        )

    def _charging(self) -> Reading:
        battery = _battery()
        if battery is None:
            return Reading(True, "no battery, so on mains")
        plugged = battery.power_plugged
        if plugged is None:  # full, kept at a limit, or a driver that psutil does not know
            plugged = _mains_online()
        if plugged is None:
            raise Unreadable("neither the battery nor a power supply says whether it is plugged in")
        return Reading(plugged, "on mains" if plugged else "on battery")

    def _charged(self) -> Reading:
        battery = _battery()
        return Reading(True, "no battery") if battery is None else charge(battery.percent, self._thresholds)

    def _cool(self) -> Reading:
        limit_c = self._thresholds.maximum_temperature_c
        if unlimited := no_limit(limit_c):
            return unlimited
        sensors = psutil.sensors_temperatures()
        readings = [sensor.current for chip in sensors.values() for sensor in chip if plausible(sensor.current)]
        if not readings:
            raise Unreadable("no temperature sensor can be read; maximum_temperature_c = inf does without")
        return temperature("hottest sensor", max(readings), limit_c)


def _battery() -> "psutil._common.sbattery | None":
    """The machine's own battery as psutil reads it, or None.

    psutil takes any supply with "battery" in its name, which a wireless mouse has too: the kernel marks those as of
    scope "Device".

    Raises:
      Unreadable: there is one, but psutil cannot make sense of it.

    """
    own = [path for path in _supplies("Battery") if _line(path / "scope") != "Device"]
    if not own:
        return None
    try:
        battery = psutil.sensors_battery()
    except ValueError:
        battery = None
    if battery is None:
        raise Unreadable("the battery's charge cannot be read")
    return battery


def _mains_online() -> bool | None:
    """Whether any outer supply is plugged in; None if none says so or not."""
    states = {_line(path / "online") for kind in ("Mains", "USB") for path in _supplies(kind)} & {"0", "1"}
    return "1" in states if states else None


def _supplies(kind: str) -> Iterator[Path]:
    """Power supplies of one kind; none where the kernel has no such class, as on most boards without a battery."""
    if POWER_SUPPLIES.is_dir():
        yield from (path for path in POWER_SUPPLIES.iterdir() if _line(path / "type") == kind)


def _line(path: Path) -> str:
    """A line of sysfs, empty where the driver has no such file or fails to fill it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
