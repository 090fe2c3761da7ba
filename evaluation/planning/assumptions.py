"""What a plan is made for, and what it takes for granted: every number with its bounds and with where it comes from."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from aggregation_service.privacy.planning import MOST_NOISE, MechanismKind
from protocol.update import UpdateFormat

_PRODUCTION = "arXiv 1902.01046, section 9"
_PRIVATE = "arXiv 2305.18465, the report goal of its larger populations"
_YOURS = "choose it"
_GUESS = "a guess: put in your own"
_DEFAULT_OF_TASK = "the default of a task, aggregation_service/rounds/parameters.py"


def _known(default: Any, low: float, high: float, source: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "source": source})


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """All of a plan. `source(name)` says where a default is from.

    Attributes:
      devices: enrolled in the population, which all have enough to train on.
      report_goal: reports that a round's sum is divided by.
      rounds: of training.
      separation_rounds: rounds from one report of a device to its next, at least.
      mechanism: how the noise of the rounds is correlated.
      epsilon: what all rounds may cost, which decides the noise; not used where `noise_multiplier` is given.
      noise_multiplier: of the plan, which decides epsilon; None to have it found.
      delta: at which epsilon is told.
      over_selection: devices selected for each report wanted.
      drop_out: share of the selected that never report.
      eligible_hours: a day that a device is idle, charging and on an unmetered network.
      swing: devices eligible in the best hour of the day for one in the worst.
      selection_timeout_s: a round that has not gathered its cohort by then is abandoned.
      secure_aggregation: whether updates are masked; plain ones otherwise.
      value_bits: of a weight of a masked update.
      group_size: devices of a group of secure aggregation.
      group_gather_s: how long a device may wait for its group.
      stage_s: how long each of a group's four stages lasts.
      poll_s: after how long a member that waits for the others asks again.
      update_format: of plain updates.
      host_cores: of a service host.
      utilisation: of the cores in the busiest moment.
      spare_hosts: so many may be away in the busiest moment.
      cdn_share: of the bytes of files that a cache before the service serves.
      database_write_mb_s: that one database's disk takes, in 10^6 bytes.
      words: in a device's log, that a round trains on.
      epochs: over them.
      slow_factor: how many times slower a device's core is than the core that was measured.
      up_mb_s: of a device's network, in 10^6 bytes.
      down_mb_s: of a device's network, in 10^6 bytes.
      watts: that a device takes while it trains, loads or sends.
      battery_wh: of a full battery.
      releases_a_month: that each device downloads.
      release_mb: of a release, in 10^6 bytes.

    Raises:
      ValueError: a number out of its bound, or two that contradict each other.

    """

    devices: int = _known(10_000_000, 1, 10**10, _YOURS)
    report_goal: int = _known(6500, 1, 10**7, _PRIVATE)
    rounds: int = _known(2000, 1, 10**6, "the task of this plan")
    separation_rounds: int = _known(342, 1, 10**6, "arXiv 2408.08868: 2,052 rounds, 6 participations 342 apart")
    mechanism: MechanismKind = field(default="buffered", metadata={"source": "docs/operations.md, Choosing noise"})
    epsilon: float = _known(2.0, 1e-3, 1e3, _YOURS)
    noise_multiplier: float | None = _known(None, 1e-3, MOST_NOISE, _YOURS)
    delta: float = _known(1e-10, 1e-300, 0.5, "the service's default, aggregation_service/config.py")
    over_selection: float = _known(1.3, 1, 10, "arXiv 1902.01046, sections 2.2 and 9")
    drop_out: float = _known(0.1, 0, 0.9, f"{_PRODUCTION}: 6 to 10 %; or from your report of `keychorus emulate run`")
    eligible_hours: float = _known(7.7, 0.1, 24, "emulator/traces/diurnal.py, mean of 300 people over a week")
    swing: float = _known(4.0, 1, 1000, _PRODUCTION)
    selection_timeout_s: float = _known(600.0, 1, 7 * 86400, _DEFAULT_OF_TASK)
    secure_aggregation: bool = field(default=True, metadata={"source": "the default of a task"})
    value_bits: int = _known(12, 2, 32, "docs/update-codec.md, groups of 128")
    group_size: int = _known(128, 2, 4096, "docs/secure-aggregation.md, Which to use")
    group_gather_s: float = _known(30.0, 0, 7 * 86400, _DEFAULT_OF_TASK)
    stage_s: float = _known(
        60.0, 0, 86400, f"its bound, {_DEFAULT_OF_TASK}; of 128 members some drop out in each stage"
    )
    poll_s: float = _known(2.0, 1, 3600, _DEFAULT_OF_TASK)
    update_format: UpdateFormat = field(default="int16", metadata={"source": "docs/update-codec.md"})
    host_cores: int = _known(16, 1, 1024, _YOURS)
    utilisation: float = _known(0.5, 0.01, 1, _YOURS)
    spare_hosts: int = _known(1, 0, 1000, _YOURS)
    cdn_share: float = _known(0.0, 0, 1, _YOURS)
    database_write_mb_s: float = _known(500.0, 0.001, 1e6, f"{_GUESS}, of your disk, with fio or pg_test_fsync")
    words: int = _known(1600, 1, 10**7, "the log of `keychorus bench fleet`")
    epochs: int = _known(1, 1, 100, "docs/design.md, What a round is")
    slow_factor: float = _known(5.0, 0.01, 1000, f"{_GUESS}, with `keychorus bench train-step` on a device")
    up_mb_s: float = _known(1.0, 1e-6, 1e6, "arXiv 1602.05629, section 1: 1 MB/s or less")
    down_mb_s: float = _known(4.0, 1e-6, 1e6, "emulator/traces/hardware.py")
    watts: float = _known(3.0, 0, 1000, f"{_GUESS}, from your phones' battery statistics")
    battery_wh: float = _known(15.4, 0.001, 1e6, "4,000 mAh at 3.85 V, a usual phone's")
    releases_a_month: float = _known(1.0, 0, 1000, _YOURS)
    release_mb: float = _known(1.41, 0, 1e6, "docs/design.md: the int8 prediction model")

    def __post_init__(self) -> None:
        for known in fields(self):
            value = getattr(self, known.name)
            if "low" in known.metadata and value is not None:
                _require(known.name, value, known.metadata["low"], known.metadata["high"])
        if self.over_selection * (1 - self.drop_out) < 1:
            raise ValueError(
                f"over_selection must be >= 1 / (1 - drop_out), {1 / (1 - self.drop_out):.3g}, for a round to find its "
                f"reports, got {self.over_selection}"
            )
        if self.secure_aggregation and self.poll_s > self.stage_s:
            raise ValueError(
                f"poll_s must be <= stage_s, {self.stage_s:g}, for members to answer in time, got {self.poll_s:g}"
            )
        if self.cohort * self.separation_rounds > self.devices:
            raise ValueError(
                f"devices must be >= cohort x separation_rounds, {self.cohort} x {self.separation_rounds}, to fill the "
                f"rounds while others stay away, got {self.devices}"
            )

    @property
    def cohort(self) -> int:
        """Devices that a round selects."""
        return math.ceil(round(self.report_goal * self.over_selection, 6))

    @property
    def eligible_share(self) -> float:
        """Of all devices, at a moment, on average over a day."""
        return self.eligible_hours / 24

    @property
    def groups(self) -> int:
        """Groups of secure aggregation in a round; 0 for plain updates."""
        return math.ceil(self.report_goal / self.group_size) if self.secure_aggregation else 0


def source(name: str) -> str:
    """Where the default of an assumption is from.

    >>> source("swing")
    'arXiv 1902.01046, section 9'
    """
    known = {known.name: known.metadata["source"] for known in fields(Assumptions)}
    return str(known[name])


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
