"""What was measured: runs of the real service at several sizes, and the unit costs that follow from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

PhaseName = Literal["check_in", "wait", "download", "report", "close"]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)
"""A check-in that selects, one that is told to come back, a download, a report, and the end of a round."""

DEFAULT_COSTS = Path(__file__).with_name("costs.json")


class NoCosts(Exception):
    """A file that holds no costs, or runs from which nothing follows."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What something took of the service and its database.

    Attributes:
      seconds: on the clock.
      cpu_s: CPU seconds of all of gunicorn's processes.
      database_cpu_s: CPU seconds of all of PostgreSQL's processes.
      commits: transactions that wrote.
      log_bytes: of PostgreSQL's write-ahead log.
      bytes_in: bodies and headers that callers sent.
      bytes_out: bodies that they were answered.

    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    database_cpu_s: float = 0.0
    commits: float = 0.0
    log_bytes: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0

    def __add__(self, other: "Use") -> "Use":
        """Both together."""
        return Use(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def times(self, factor: float) -> "Use":
        """So many times as much."""
        return Use(**{name: getattr(self, name) * factor for name in self.__struct_fields__})

    def without(self, idle: "Use") -> "Use":
        """What is left after what a service that idles takes in the same time; nothing is ever below 0."""
        background = idle.times(self.seconds / idle.seconds)
        left = {name: max(getattr(self, name) - getattr(background, name), 0.0) for name in self.__struct_fields__}
        return Use(**left | {"seconds": self.seconds})


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of measured rounds.

    Attributes:
      count: requests, or rounds for `close`.
      use: of all of them.

    """

    count: int
    use: Use


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds of one size.

    Attributes:
      cohort: devices of a round.
      rounds: measured.
      phases: of all rounds together.
      idle: of a service that nobody calls.
      peak_worker_bytes: the largest resident memory of a worker.

    """

    cohort: int
    rounds: int
    phases: dict[PhaseName, Phase]
    idle: Use
    peak_worker_bytes: int


class SecureCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one group of secure aggregation costs besides HTTP: its cryptography and its bytes.

    Attributes:
      members: of the group.
      value_bits: of a masked weight.
      member_cpu_s: CPU seconds of the service, as far as any worker may spend them.
      leader_cpu_s: CPU seconds of the service, to unmask and decode, which one process spends.
      device_cpu_s: CPU seconds of a member.
      bytes_in: that a member sends, its masked update included.
      bytes_out: that a member is told.

    """

    members: int
    value_bits: int
    member_cpu_s: float
    leader_cpu_s: float
    device_cpu_s: float
    bytes_in: float
    bytes_out: float


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the database, indices included.

    Attributes:
      device_bytes: for each enrolled device.
      assignment_bytes: for each device that a round selected; these rows stay.
      round_bytes: for each model version that is kept.

    """

    device_bytes: float
    assignment_bytes: float
    round_bytes: float


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured.

    Attributes:
      command: that measured it.
      date: on which, as YYYY-MM-DD.
      machine: what kind of machine it was, in words: cores, and what else it did.
      num_weights: of the network.
      connections: callers at the same time.
      step_s: CPU seconds of a training step of 16 sequences of 12 words.
      runs: by size, the smallest first.
      secure: of secure aggregation.
      stored: in the database.

    """

    command: str
    date: str
    machine: str
    num_weights: int
    connections: int
    step_s: float
    runs: tuple[Run, ...]
    secure: SecureCosts
    stored: Stored


class UnitCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one of each costs.

    Attributes:
      one: of each phase, beyond what a service that idles takes.
      idle: of a service that nobody calls, for one second.
      peak_worker_bytes: of a worker, whatever the cohort.

    """

    one: dict[PhaseName, Use]
    idle: Use
    peak_worker_bytes: float


def unit_costs(runs: Sequence[Run]) -> UnitCosts:
    """Fits the model: the same for each request of a kind, and for each round's end, at any size.

    Raises:
      NoCosts: no runs, or one without a phase.

    """
    if not runs:
        raise NoCosts("unit costs need at least 1 run, got 0")
    idle_all = sum((run.idle for run in runs), Use())
    idle = idle_all.times(1 / idle_all.seconds)
    one = {}
    for name in PHASES:
        if any(name not in run.phases for run in runs):
            raise NoCosts(f"every run must have the phase {name}")
        count = sum(run.phases[name].count for run in runs)
        total = sum((run.phases[name].use for run in runs), Use())
        one[name] = total.without(idle).times(1 / count)
    memory = sum(run.peak_worker_bytes for run in runs) / len(runs)
    return UnitCosts(one=one, idle=idle, peak_worker_bytes=memory)


def read_costs(path: Path) -> Costs:
    """Reads what `keychorus plan measure` wrote.

    Raises:
      NoCosts: it cannot be read, or is something else.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Costs)
    except (OSError, msgspec.MsgspecError) as error:
        raise NoCosts(f"{path.name} must be costs as `keychorus plan measure` writes them: {error}") from None
