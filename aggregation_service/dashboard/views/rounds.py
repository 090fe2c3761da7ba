"""Rounds as an operator sees them: counts and times, nothing of a single device."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from aggregation_service.storage.models import Task, get_task
from aggregation_service.storage.tables import rounds, tasks

OPEN_PHASES = ("selection", "reporting", "closing")
CHARTED_ROUNDS = 60
PAGE_ROUNDS = 20


_WHERE_LOST = {
    None: "silent",
    "too_few_devices": "in_selection",
    "too_few_reports": "silent",
    "close_failed": "silent",
    "budget_spent": "silent",
}
"""Where devices that never reported were lost, by why their round was abandoned; else it was cut short by others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DropOuts:
    """Devices of a round that were selected and are not in its result, by how far they came.

    What is not recorded is not told: whether a device fetched the round's files, and who was turned away at check-in,
    which was never selected. Refused reports are counted by population, not by round.

    Attributes:
      in_selection: waited in a cohort that too few others joined.
      silent: had not reported by the deadline.
      cut_off: were at work when something else ended the round: another task, or a process that died.
      not_awaited: were at work when the goal was reached: a cohort is larger than its goal so that nobody waits for
        the slowest.
      in_vain: reported, and the round came to no result.

    """

    in_selection: int = 0
    silent: int = 0
    cut_off: int = 0
    not_awaited: int = 0
    in_vain: int = 0

    @property
    def by_phase(self) -> dict[str, int]:
        """Their numbers by the names above, in the order of the phases."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_phase.values())


# What the chart calls them; in the table there is room for the names alone.
PHASES_LOST_IN = {
    "in_selection": "lost in selection",
    "silent": "silent in reporting",
    "cut_off": "cut off in reporting",
    "not_awaited": "not awaited at the goal",
    "in_vain": "in vain after reporting",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundView:
    """One round.

    Attributes:
      kind: "training", "evaluation" or "discovery".
      phase: "selection", "reporting", "closing", "closed" or "abandoned".
      abandoned_because: why, as the service names it; None unless abandoned.
      cohort_size: devices that it selects at most.
      drop_outs: devices that were selected and are not in its result; none while the round is open.
      waiting: devices that were selected and may still report; 0 once the round has ended.
      opened_at: seconds since 1970, as all times here.
      result: what an evaluation round measured, as it was written; None of a training round.

    """

    id: str
    number: int
    kind: str
    phase: str
    abandoned_because: str | None
    model_version: int
    selected: int
    cohort_size: int
    reported: int
    report_goal: int
    shortened: int
    opened_at: float
    deadline_at: float
    ended_at: float | None
    bytes_up: int
    result: str | None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.phase in OPEN_PHASES

    @property
    def is_abandoned(self) -> bool:
        """Whether it ended without a result."""
        return self.phase == "abandoned"

    @property
    def drop_outs(self) -> DropOuts:
        """Devices that were selected and are not in its result."""
        if self.is_open:
            return DropOuts()
        where = "not_awaited" if self.reported >= self.report_goal else _WHERE_LOST.get(self.abandoned_because)
        never_reported = {where or "cut_off": self.selected - self.reported}
        return DropOuts(**never_reported, in_vain=self.reported if self.is_abandoned else 0)

    @property
    def waiting(self) -> int:
        """Devices that may still report."""
        return self.selected - self.reported if self.is_open else 0

    @property
    def duration_s(self) -> float | None:
        """How long it was open; None while it is."""
        return None if self.ended_at is None else self.ended_at - self.opened_at


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundPage:
    """Some rounds, newest first, and where the pages beside them begin; None where there is none."""

    rounds: tuple[RoundView, ...]
    older: int | None
    newer: int | None
    total: int


def find_open(connection: Connection, population: str) -> RoundView | None:
    """The population's open round."""
    found = _of(population).where(rounds.c.phase.in_(OPEN_PHASES))
    row = connection.execute(found).one_or_none()
    return None if row is None else _view(row, {row.task_id: get_task(connection, row.task_id)})


def newest(connection: Connection, population: str, limit: int = CHARTED_ROUNDS) -> tuple[RoundView, ...]:
    """The newest `limit` rounds, oldest first."""
    return _views(connection, _of(population).order_by(rounds.c.number.desc()).limit(limit))[::-1]


def read_page(connection: Connection, population: str, before: int | None) -> RoundPage:
    """`PAGE_ROUNDS` rounds with a number below `before`; None for the newest."""
    total, last = connection.execute(
        select(func.count(), func.max(rounds.c.number)).where(rounds.c.population == population)
    ).one()
    wanted = _of(population).order_by(rounds.c.number.desc()).limit(PAGE_ROUNDS)
    if before is not None:
        wanted = wanted.where(rounds.c.number < before)
    found = _views(connection, wanted)
    first_is_newest = not found or found[0].number == last
    return RoundPage(
        rounds=found,
        older=found[-1].number if found and found[-1].number > 1 else None,
        newer=None if first_is_newest else found[0].number + PAGE_ROUNDS + 1,
        total=total,
    )


def _of(population: str) -> Select[Any]:
    joined = select(rounds, tasks.c.kind).join(tasks, tasks.c.id == rounds.c.task_id)
    return joined.where(rounds.c.population == population)


def _views(connection: Connection, wanted: Select[Any]) -> tuple[RoundView, ...]:
    rows = connection.execute(wanted).all()
    known = {task_id: get_task(connection, task_id) for task_id in {row.task_id for row in rows}}
    return tuple(_view(row, known) for row in rows)


def _view(row: Row[Any], known: Mapping[int, Task]) -> RoundView:
    task = known[row.task_id]
    goal = task.plan.privacy.report_goal
    return RoundView(
        id=row.id,
        number=row.number,
        kind=row.kind,
        phase=row.phase,
        abandoned_because=row.abandoned_because,
        model_version=row.model_version,
        selected=row.selected,
        cohort_size=task.parameters.cohort_size(goal),
        reported=row.reported,
        report_goal=goal,
        shortened=row.shortened,
        opened_at=row.opened_at,
        deadline_at=row.deadline_at,
        ended_at=row.ended_at,
        bytes_up=row.bytes_up,
        result=row.result,
    )
