"""A round as a value, and the rules by which it moves.

Every function takes the round and the time and returns the round that follows; nothing is changed in place.

A round stands before it runs: it is signed and ready, but has no device yet, and so no timeout. Its clock starts with
the first device selected.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from aggregation_service.rounds.parameters import RoundParameters


class Phase(StrEnum):
    """Where a round stands."""

    SELECTION = "selection"
    REPORTING = "reporting"
    CLOSING = "closing"
    CLOSED = "closed"
    ABANDONED = "abandoned"


class AbandonReason(StrEnum):
    """Why a round ended without a result; told to operators, so that nothing is lost in silence."""

    TOO_FEW_DEVICES = "too_few_devices"
    TOO_FEW_REPORTS = "too_few_reports"
    TASK_REPLACED = "task_replaced"
    KEY_LOST = "key_lost"
    CLOSE_FAILED = "close_failed"
    BUDGET_SPENT = "budget_spent"
    SUM_LOST = "sum_lost"  # of the skeleton, whose sums were in one process; still read from old databases


REPORTING_PHASES = (Phase.SELECTION, Phase.REPORTING)
"""In which reports are taken."""

OPEN_PHASES = (*REPORTING_PHASES, Phase.CLOSING)
"""In which a round has not ended; a population has one such round at most."""

TurnedAway = Literal["cohort_full", "minimum_separation", "too_few_examples"]
"""Why a device that checked in was not selected; a value and not an error, since nothing is wrong with it."""


class RoundOver(Exception):
    """A report for a round that has ended, or whose deadline has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round's state.

    Attributes:
      parameters: frozen with the task.
      report_goal: reports that close the round, from the plan.
      opened_at: seconds since 1970, when its first device was selected; of a standing round, when it was made.
      deadline_at: seconds since 1970; a report after it is late.
      phase: where the round stands.
      selected: devices in the cohort so far.
      reported: reports accepted so far; above `report_goal` at most by the last group's (`accept_group`).
      shortened: accepted reports that the service had to clip, which an honest device has done already.
      ended_at: seconds since 1970, once no report is taken any more.
      abandoned_because: set if and only if the round was abandoned.

    """

    parameters: RoundParameters
    report_goal: int
    opened_at: float
    deadline_at: float
    phase: Phase = Phase.SELECTION
    selected: int = 0
    reported: int = 0
    shortened: int = 0
    ended_at: float | None = None
    abandoned_because: AbandonReason | None = None

    @property
    def takes_reports(self) -> bool:
        """Whether reports may still come."""
        return self.phase in REPORTING_PHASES

    @property
    def is_standing(self) -> bool:
        """Whether nobody was selected yet, so that the round can still be replaced unseen."""
        return self.phase is Phase.SELECTION and self.selected == 0

    @property
    def has_its_goal(self) -> bool:
        """Whether all reports wanted are in."""
        return self.reported >= self.report_goal

    @property
    def cohort_size(self) -> int:
        """Devices that the round selects at most."""
        return self.parameters.cohort_size(self.report_goal)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What a round needs to know of a device that checked in.

    Attributes:
      num_examples: examples that the device says it has.
      last_selected_at: seconds since 1970 of its last selection in this population, None if never.
      in_this_round: whether it is in the round's cohort already.

    """

    num_examples: int
    last_selected_at: float | None
    in_this_round: bool


def open_round(parameters: RoundParameters, report_goal: int, now: float) -> Round:
    """Makes a standing round: in selection, without devices; its times count from its first device."""
    return Round(
        parameters=parameters, report_goal=report_goal, opened_at=now, deadline_at=_last_deadline(parameters, now)
    )


def decide_check_in(
    current: Round, candidate: Candidate, *, minimum_separation_s: float, now: float
) -> Round | TurnedAway:
    """Selects the candidate into the round, or says why not.

    Returns:
      The round with one device more (in REPORTING if that filled the cohort), or the reason for which the device is
      turned away.

    Guarantees:
      A cohort never exceeds `cohort_size`; no device is in it twice; no device is selected again within
      `minimum_separation_s`, which is what bounds its participations and with them the privacy spent on it. Selection
      ends with the device that fills the cohort, or for a device that comes after the timeout, so no cohort hangs on
      when somebody looks at the clock.

    """
    if candidate.num_examples < current.parameters.min_examples:
        return "too_few_examples"
    last = candidate.last_selected_at
    if candidate.in_this_round or (last is not None and now < last + minimum_separation_s):
        return "minimum_separation"
    if current.is_standing:
        current = open_round(current.parameters, current.report_goal, now)
    if current.phase is not Phase.SELECTION or _selection_is_over(current, now):
        return "cohort_full"
    return _end_selection(replace(current, selected=current.selected + 1), now)


def accept_report(current: Round, *, was_shortened: bool, now: float) -> Round:
    """Counts one report.

    Raises:
      RoundOver: the round has ended, has its goal of reports, or its deadline has passed.

    """
    if not current.takes_reports or now > current.deadline_at or current.has_its_goal:
        raise RoundOver("the round is over")
    return replace(current, reported=current.reported + 1, shortened=current.shortened + was_shortened)


def accept_group(current: Round, count: int) -> Round:
    """Counts the reports of a group whose sum was unmasked, all at once; the goal may be passed by those of one group.

    A group that was under way at the deadline still counts: see `advance`.

    Args:
      current: the round.
      count: members whose updates are in the sum, >= 1.

    Raises:
      RoundOver: the round has ended, or has its goal of reports.

    """
    if not current.takes_reports or current.has_its_goal:
        raise RoundOver("the round is over")
    return replace(current, reported=current.reported + count)


def advance(current: Round, now: float, *, groups_under_way: bool = False) -> Round:
    """Applies whatever time and counts imply: the end of selection, then the end of reporting.

    Idempotent, and late calls give the same as punctual ones (but for `ended_at` of a round that has its goal, which is
    when this was called): a service needs no timer, only to call this before it answers anything. A round that comes
    back CLOSING is to be summed; `close` or `abandon` ends it. While groups are under way, whose own deadlines are
    near, the deadline waits for them.
    """
    moved = _end_selection(current, now)
    if groups_under_way and not moved.has_its_goal:
        return moved
    return _end_reporting(moved, now)


def nobody_came(current: Round, now: float) -> bool:
    """Whether a round has stood for longer than a cohort may take to gather, and no device was selected into it."""
    return current.is_standing and now > current.opened_at + current.parameters.selection_timeout_s


def close(current: Round) -> Round:
    """Ends a CLOSING round whose result is stored with it.

    Raises:
      RoundOver: the round is not closing.

    """
    if current.phase is not Phase.CLOSING:
        raise RoundOver(f"a round that is {current.phase} cannot be closed")
    return replace(current, phase=Phase.CLOSED)


def abandon(current: Round, reason: AbandonReason, now: float) -> Round:
    """Ends an open round without a result; one that has ended stays as it is."""
    if current.phase not in OPEN_PHASES:
        return current
    return replace(current, phase=Phase.ABANDONED, abandoned_because=reason, ended_at=now)


def _last_deadline(parameters: RoundParameters, opened_at: float) -> float:
    return opened_at + parameters.selection_timeout_s + parameters.report_deadline_s


def _selection_is_over(current: Round, now: float) -> bool:
    timeout_at = current.opened_at + current.parameters.selection_timeout_s
    return current.selected >= current.cohort_size or now > timeout_at


def _end_selection(current: Round, now: float) -> Round:
    if current.phase is not Phase.SELECTION or current.is_standing or not _selection_is_over(current, now):
        return current
    ended_at = min(now, current.opened_at + current.parameters.selection_timeout_s)
    if current.selected < current.parameters.minimum_reports:
        return abandon(current, AbandonReason.TOO_FEW_DEVICES, ended_at)
    # Whoever was selected last still has its whole report_deadline_s.
    deadline_at = min(current.deadline_at, ended_at + current.parameters.report_deadline_s)
    return replace(current, phase=Phase.REPORTING, deadline_at=deadline_at)


def _end_reporting(current: Round, now: float) -> Round:
    if not current.takes_reports or current.is_standing:
        return current
    if current.has_its_goal:
        return replace(current, phase=Phase.CLOSING, ended_at=now)
    if now <= current.deadline_at:
        return current
    if current.reported >= current.parameters.minimum_reports:
        return replace(current, phase=Phase.CLOSING, ended_at=current.deadline_at)
    return abandon(current, AbandonReason.TOO_FEW_REPORTS, current.deadline_at)
