"""What was measured: runs of the real service at several sizes, and the unit costs that follow from them."""

from collections.abc import Sequence
from operator import mul
from pathlib import Path
from statistics import linear_regression
from typing import Annotated, Literal, get_args

import msgspec

PhaseName = Literal["check_in", "wait", "download", "report", "close"]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)
"""A check-in that selects, one that is told to come back, a download, a report, and the end of a round."""

_PAGE_BYTES = 8192
_WITHOUT_SUMS: tuple[PhaseName, ...] = ("check_in", "wait", "download")

Count = Annotated[int, msgspec.Meta(ge=1)]

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

    count: Count
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

    cohort: Count
    rounds: Count
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

    members: Count
    value_bits: Count
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
    num_weights: Count
    connections: int
    step_s: float
    runs: tuple[Run, ...]
    secure: SecureCosts
    stored: Stored


class UnitCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one of each costs.

    Attributes:
      one: of each phase, beyond what a service that idles takes.
      a_round: what a round takes besides, however many devices it has: new connections, cold caches.
      idle: of a service that nobody calls, for one second.
      peak_worker_bytes: of a worker, whatever the cohort.

    """

    one: dict[PhaseName, Use]
    a_round: Use
    idle: Use
    peak_worker_bytes: float


def unit_costs(runs: Sequence[Run]) -> UnitCosts:
    """Fits the model: in each phase of a round a fixed part, and as much for each request, by least squares.

    Guarantees:
      No part is below 0. From runs of one size alone nothing is fixed.

    Raises:
      NoCosts: no runs, or one without a phase.

    """
    _require_whole(runs)
    runs = charge_cleaning(runs)
    idle_all = sum((run.idle for run in runs), Use())
    idle = idle_all.times(1 / idle_all.seconds)
    lines = {name: _fit_phase(runs, name, idle) for name in PHASES}
    return UnitCosts(
        one={name: slope for name, (slope, _) in lines.items()},
        a_round=sum((fixed for _, fixed in lines.values()), Use()),
        idle=idle,
        peak_worker_bytes=sum(run.peak_worker_bytes for run in runs) / len(runs),
    )


def charge_cleaning(runs: Sequence[Run]) -> list[Run]:
    """Charges what PostgreSQL writes when it cleans up after reports to the reports, whenever it does so.

    Each commit of reports leaves some 11 MB of an older sum behind, which is vacuumed later, beside whatever comes
    then. Other requests write a few rows: 0.5 to 6 kB where nothing was to be cleaned. So what these took beyond a page
    a transaction, or the least that such a request took in any run, is the reports'; an idle service writes no more
    than a page a transaction.
    """
    least = {
        name: min(_own_log_bytes(run.phases[name].use) / run.phases[name].count for run in runs)
        for name in _WITHOUT_SUMS
    }
    return [_charged(run, least) for run in runs]


def _own_log_bytes(use: Use) -> float:
    """Of what adds to no sum."""
    return min(use.log_bytes, _PAGE_BYTES * use.commits)


def _charged(run: Run, least: dict[PhaseName, float]) -> Run:
    own = {name: share * run.phases[name].count for name, share in least.items()}
    moved = sum(run.phases[name].use.log_bytes - log_bytes for name, log_bytes in own.items())
    own["report"] = run.phases["report"].use.log_bytes + moved
    charged = {
        name: msgspec.structs.replace(
            run.phases[name], use=msgspec.structs.replace(run.phases[name].use, log_bytes=log_bytes)
        )
        for name, log_bytes in own.items()
    }
    idle = msgspec.structs.replace(run.idle, log_bytes=_own_log_bytes(run.idle))
    return msgspec.structs.replace(run, phases=run.phases | charged, idle=idle)


def _fit_phase(runs: Sequence[Run], name: PhaseName, idle: Use) -> tuple[Use, Use]:
    """What one request takes, and what a round takes besides."""
    counts = [run.phases[name].count / run.rounds for run in runs]
    uses = [run.phases[name].use.without(idle).times(1 / run.rounds) for run in runs]
    lines = {measure: _fit_line(counts, [getattr(use, measure) for use in uses]) for measure in Use.__struct_fields__}
    slopes = {measure: slope for measure, (slope, _) in lines.items()}
    return Use(**slopes), Use(**{measure: fixed for measure, (_, fixed) in lines.items()})


def _fit_line(counts: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope and height of the line of least squares, neither below 0."""
    if len(set(counts)) > 1:
        slope, height = linear_regression(counts, values)
        if slope >= 0 and height >= 0:
            return slope, height
        if slope < 0:
            return 0.0, sum(values) / len(values)
    return sum(map(mul, counts, values)) / sum(map(mul, counts, counts)), 0.0


def _require_whole(runs: Sequence[Run]) -> None:
    if not runs:
        raise NoCosts("unit costs need at least 1 run, got 0")
    for name in PHASES:
        if any(name not in run.phases for run in runs):
            raise NoCosts(f"every run must have the phase {name}")


def read_costs(path: Path) -> Costs:
    """Reads what `keychorus plan measure` wrote.

    Raises:
      NoCosts: it cannot be read, or is something else.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Costs)
    except (OSError, msgspec.MsgspecError) as error:
        raise NoCosts(f"{path.name} must be costs as `keychorus plan measure` writes them: {error}") from None
