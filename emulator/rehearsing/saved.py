"""A rehearsal that was stopped, as a file: beside the world's folder, all that it needs to go on."""

from hashlib import sha256
from pathlib import Path

import msgspec

from device_runtime.storage.files import write_atomically
from emulator.rehearsing.watching import Observations
from emulator.scenarios.schema import Scenario

STATE_FILE = "rehearsal.json"


class OtherRehearsal(Exception):
    """The folder holds a rehearsal that was stopped, and it is not this one."""


class Saved(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A rehearsal between two runs.

    Attributes:
      fingerprint: of the scenario, with its seed.
      start: when it began, in virtual seconds since 1970.
      now: how far it came.
      wake_at: when each device acts next; None for never.
      starts: how often the service was started.
      observations: so far.
      recall: top-1 by population and model version.
      happened: what befell the service.
      service_runs: whether the service was up.
      seconds: wall time by stage.

    """

    fingerprint: str
    start: float
    now: float
    wake_at: list[float | None]
    starts: int = 0
    observations: Observations
    recall: dict[str, dict[int, float]] = {}
    happened: list[str] = []
    service_runs: bool = True
    seconds: dict[str, float] = {}


def fingerprint(scenario: Scenario, *, real_time: bool) -> str:
    """Hexadecimal; the same for the same scenario."""
    return sha256(msgspec.json.encode((scenario, real_time))).hexdigest()


def save(saved: Saved, folder: Path) -> None:
    """Writes it, whole or not at all."""
    write_atomically(folder / STATE_FILE, msgspec.json.encode(saved))


def find_saved(folder: Path, wanted: str) -> Saved | None:
    """What an earlier run left in `folder`; None if there is nothing.

    Raises:
      OtherRehearsal: it is of another scenario, size or seed, or cannot be read.

    """
    path = folder / STATE_FILE
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=Saved)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        raise OtherRehearsal(f"{path} must be a rehearsal that was stopped; delete {folder} to begin anew") from None
    if saved.fingerprint != wanted:
        raise OtherRehearsal(
            f"{path} must be of the same scenario, devices, days and seed to go on, and is of others; "
            f"give another --output, or delete {folder}"
        )
    return saved
