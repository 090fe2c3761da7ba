"""A round as a value, and the rules by which it moves.

Every function takes the round and the time and returns the round that follows; nothing is changed in place.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from aggregation_service.rounds.parameters import RoundParameters


class Phase(StrEnum):
    """Where a round stands."""

    SELECTION = "selection"
    REPORTING = "reporting"
    CLOSED = "closed"
    ABANDONED = "abandoned"


class AbandonReason(StrEnum):
    """Why a round ended without a result; told to operators, so that nothing is lost in silence."""

    TOO_FEW_DEVICES = "too_few_devices"
    TOO_FEW_REPORTS = "too_few_reports"
    SUM_LOST = "sum_lost"
    TASK_REPLACED = "task_replaced"


OPEN_PHASES = (Phase.SELECTION, Phase.REPORTING)

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
      opened_at: seconds since 1970.
      deadline_at: seconds since 1970; a report after it is late.
      phase: where the round stands.
      selected: devices in the cohort so far.
      reported: reports accepted so far; never above `report_goal`.
      shortened: accepted reports that the service had to clip, which an honest device has done already.
      ended_at: seconds since 1970, once closed or abandoned.
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
    def is_open(self) -> bool:
        """Whether reports may still come."""
        return self.phase in OPEN_PHASES

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
    """Starts a round at `now`, in selection and without devices."""
    deadline_at = now + parameters.selection_timeout_s + parameters.report_deadline_s
    return Round(parameters=parameters, report_goal=report_goal, opened_at=now, deadline_at=deadline_at)


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
      ends with the device that fills the cohort, so the deadline hangs on no later call.

    """
    if candidate.num_examples < current.parameters.min_examples:
        return "too_few_examples"
    last = candidate.last_selected_at
    if candidate.in_this_round or (last is not None and now < last + minimum_separation_s):
        return "minimum_separation"
    if current.phase is not Phase.SELECTION or current.selected >= current.cohort_size:
        return "cohort_full"
    return _end_selection(replace(current, selected=current.selected + 1), now)


def accept_report(current: Round, *, was_shortened: bool, now: float) -> Round:
    """Counts one report.

    Raises:
      RoundOver: the round has ended, has its goal of reports, or its deadline has passed.

    """
    if not current.is_open or now > current.deadline_at or current.reported >= current.report_goal:
        raise RoundOver("the round is over")
    return replace(current, reported=current.reported + 1, shortened=current.shortened + was_shortened)


def advance(current: Round, now: float) -> Round:
    """Applies whatever time and counts imply: the end of selection, then the end of the round.

    Idempotent, and late calls give the same as punctual ones (but for `ended_at` of a round that has its goal, which is
    when this was called): a service needs no timer, only to call this before it answers anything. A round that comes
    back CLOSED is to be summed; its caller does that before it is stored so.
    """
    return _end_round(_end_selection(current, now), now)


def abandon(current: Round, reason: AbandonReason, now: float) -> Round:
    """Ends an open round without a result; one that has ended stays as it is."""
    if not current.is_open:
        return current
    return replace(current, phase=Phase.ABANDONED, abandoned_because=reason, ended_at=now)


def _end_selection(current: Round, now: float) -> Round:
    timeout_at = current.opened_at + current.parameters.selection_timeout_s
    if current.phase is not Phase.SELECTION or (current.selected < current.cohort_size and now <= timeout_at):
        return current
    ended_at = min(now, timeout_at)
    if current.selected < current.parameters.minimum_reports:
        return abandon(current, AbandonReason.TOO_FEW_DEVICES, ended_at)
    # Whoever was selected last still has its whole report_deadline_s.
    deadline_at = min(current.deadline_at, ended_at + current.parameters.report_deadline_s)
    return replace(current, phase=Phase.REPORTING, deadline_at=deadline_at)


def _end_round(current: Round, now: float) -> Round:
    if not current.is_open:
        return current
    if current.reported >= current.report_goal:
        return replace(current, phase=Phase.CLOSED, ended_at=now)
    if now <= current.deadline_at:
        return current
    if current.reported >= current.parameters.minimum_reports:
        return replace(current, phase=Phase.CLOSED, ended_at=current.deadline_at)
    return abandon(current, AbandonReason.TOO_FEW_REPORTS, current.deadline_at)
