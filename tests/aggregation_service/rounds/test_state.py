"""Round logic: by properties over any sequence of events, and by the cases that matter one by one."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.rounds.state import (
    AbandonReason,
    Candidate,
    Phase,
    Round,
    RoundOver,
    abandon,
    accept_group,
    accept_report,
    advance,
    close,
    decide_check_in,
    open_round,
)

PARAMETERS = RoundParameters(
    minimum_reports=2, over_selection=1.5, min_examples=10, selection_timeout_s=100, report_deadline_s=50
)
NEW = Candidate(num_examples=10, last_selected_at=None, in_this_round=False)

events = st.lists(
    st.tuples(st.sampled_from(["check_in", "report", "advance"]), st.floats(0, 60, allow_nan=False)), max_size=60
)


def fresh(goal: int = 4) -> Round:
    return open_round(PARAMETERS, goal, now=0.0)


def select(current: Round, count: int, now: float = 0.0) -> Round:
    for _ in range(count):
        decided = decide_check_in(current, NEW, minimum_separation_s=0, now=now)
        assert isinstance(decided, Round)
        current = advance(decided, now)
    return current


@given(events, st.integers(2, 6))
def test_whatever_happens_a_round_keeps_its_promises(happening: list[tuple[str, float]], goal: int) -> None:
    current, now, outstanding = fresh(goal), 0.0, 0
    for kind, seconds in happening:
        now += seconds
        before, current = current, advance(current, now)
        assert advance(current, now) == current
        if kind == "check_in":
            decided = decide_check_in(current, NEW, minimum_separation_s=0, now=now)
            if isinstance(decided, Round):
                assert current.phase is Phase.SELECTION
                current, outstanding = decided, outstanding + 1
        elif kind == "report" and outstanding:
            try:
                current, outstanding = accept_report(current, was_shortened=False, now=now), outstanding - 1
            except RoundOver:
                assert not current.takes_reports
            else:
                assert now <= current.deadline_at
        assert current.reported <= goal
        assert current.reported <= current.selected <= PARAMETERS.cohort_size(goal)
        assert before.takes_reports or replace(current) == before
        assert (current.ended_at is None) == current.takes_reports
        assert not current.is_standing or (current.deadline_at, current.reported) == (150.0, 0)
        assert (current.abandoned_because is not None) == (current.phase is Phase.ABANDONED)
        assert current.phase is not Phase.CLOSING or current.reported >= min(goal, PARAMETERS.minimum_reports)
    assert advance(current, now + 151).takes_reports == current.is_standing


@given(events, st.floats(0, 500))
@example([("check_in", 0.0)] * 6, 0.0)
@example([("check_in", 10.0)] * 6, 500.0)
def test_being_called_late_gives_the_same_end(happening: list[tuple[str, float]], later: float) -> None:
    current, now = fresh(), 0.0
    for kind, seconds in happening:
        now += seconds
        current = advance(current, now)
        decided = decide_check_in(current, NEW, minimum_separation_s=0, now=now)
        if kind == "check_in" and isinstance(decided, Round):
            current = decided
    punctual = current
    for step in range(160):
        punctual = advance(punctual, now + step)
    at_once = advance(current, now + 160 + later)
    assert (at_once.phase, at_once.reported, at_once.deadline_at) == (
        punctual.phase,
        punctual.reported,
        punctual.deadline_at,
    )


def test_closes_at_its_goal_while_selection_goes_on() -> None:
    current = select(fresh(goal=2), 2)
    for _ in range(2):
        current = accept_report(current, was_shortened=True, now=1.0)
    closing = advance(current, 1.0)
    assert (closing.phase, closing.reported, closing.shortened, closing.ended_at) == (Phase.CLOSING, 2, 2, 1.0)
    assert close(closing) == replace(closing, phase=Phase.CLOSED)
    with pytest.raises(RoundOver, match="a round that is selection cannot be closed"):
        close(current)
    with pytest.raises(RoundOver):
        accept_report(current, was_shortened=False, now=1.0)


def test_the_device_that_fills_the_cohort_sets_the_deadline_itself() -> None:
    filled = decide_check_in(select(fresh(), 5, now=20.0), NEW, minimum_separation_s=0, now=30.0)
    assert isinstance(filled, Round)
    assert (filled.phase, filled.selected, filled.deadline_at) == (Phase.REPORTING, 6, 80.0)


def test_a_full_cohort_ends_selection_and_leaves_the_last_device_its_time() -> None:
    current = select(fresh(), 6, now=30.0)
    assert (current.phase, current.deadline_at) == (Phase.REPORTING, 80.0)
    assert decide_check_in(current, NEW, minimum_separation_s=0, now=30.0) == "cohort_full"
    assert accept_report(current, was_shortened=False, now=80.0).reported == 1
    with pytest.raises(RoundOver):
        accept_report(current, was_shortened=False, now=80.001)


@pytest.mark.parametrize(("reports", "phase"), [(1, Phase.ABANDONED), (2, Phase.CLOSING), (3, Phase.CLOSING)])
def test_the_deadline_closes_or_abandons(reports: int, phase: Phase) -> None:
    current = select(fresh(), 5)
    for _ in range(reports):
        current = accept_report(current, was_shortened=False, now=1.0)
    ended = advance(current, 1000.0)
    assert (ended.phase, ended.ended_at) == (phase, 150.0)
    assert ended.abandoned_because == (AbandonReason.TOO_FEW_REPORTS if phase is Phase.ABANDONED else None)


def test_a_cohort_that_does_not_gather_is_abandoned_at_the_timeout() -> None:
    ended = advance(select(fresh(), 1), 100.5)
    assert (ended.phase, ended.abandoned_because) == (Phase.ABANDONED, AbandonReason.TOO_FEW_DEVICES)
    assert abandon(ended, AbandonReason.KEY_LOST, 200.0) == ended


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (replace(NEW, num_examples=9), "too_few_examples"),
        (replace(NEW, in_this_round=True), "minimum_separation"),
        (replace(NEW, last_selected_at=0.5), "minimum_separation"),
    ],
)
def test_who_is_turned_away_and_why(candidate: Candidate, reason: str) -> None:
    assert decide_check_in(fresh(), candidate, minimum_separation_s=60, now=60.0) == reason


def test_minimum_separation_ends_on_the_second() -> None:
    candidate = replace(NEW, last_selected_at=0.0)
    assert isinstance(decide_check_in(fresh(), candidate, minimum_separation_s=60, now=60.0), Round)


@given(st.floats(0, 1e6), st.floats(0, 50))
def test_a_standing_round_waits_for_its_first_device_however_long(waited: float, later: float) -> None:
    standing = fresh()
    assert standing.is_standing
    assert advance(standing, waited) == standing
    begun = decide_check_in(standing, NEW, minimum_separation_s=0, now=waited)
    assert begun == decide_check_in(open_round(PARAMETERS, 4, waited), NEW, minimum_separation_s=0, now=waited)
    assert isinstance(begun, Round)
    assert (begun.opened_at, begun.deadline_at, begun.is_standing) == (waited, waited + 100 + 50, False)
    assert advance(begun, waited + later) == begun


def test_a_device_after_the_timeout_is_turned_away_though_nobody_ended_selection_yet() -> None:
    assert decide_check_in(select(fresh(), 2), NEW, minimum_separation_s=0, now=100.5) == "cohort_full"


def test_a_closing_round_takes_nothing_and_can_only_end() -> None:
    current = select(fresh(goal=2), 3)
    for _ in range(2):
        current = accept_report(current, was_shortened=False, now=1.0)
    closing = advance(current, 1.0)
    assert advance(closing, 1e6) == closing
    with pytest.raises(RoundOver):
        accept_report(closing, was_shortened=False, now=1.0)
    assert decide_check_in(closing, NEW, minimum_separation_s=0, now=1.0) == "cohort_full"
    failed = abandon(closing, AbandonReason.CLOSE_FAILED, 2.0)
    assert (failed.phase, failed.abandoned_because, failed.reported) == (Phase.ABANDONED, "close_failed", 2)
    assert abandon(close(closing), AbandonReason.CLOSE_FAILED, 2.0) == close(closing)


def test_reasons_of_older_versions_are_still_read() -> None:
    assert AbandonReason("sum_lost") is AbandonReason.SUM_LOST


def test_a_group_counts_at_once_and_may_pass_the_goal() -> None:
    current = accept_group(select(fresh(goal=4), 6), 3)
    assert (current.reported, current.has_its_goal) == (3, False)
    current = accept_group(current, 3)
    assert (current.reported, advance(current, 0).phase) == (6, Phase.CLOSING)
    with pytest.raises(RoundOver):
        accept_group(current, 1)
    with pytest.raises(RoundOver):
        accept_group(abandon(fresh(), AbandonReason.KEY_LOST, 0.0), 3)


def test_the_deadline_waits_for_groups_that_are_under_way_but_the_goal_does_not() -> None:
    current = select(fresh(goal=4), 6)
    assert advance(current, 1000.0, groups_under_way=True).phase is Phase.REPORTING
    assert accept_group(current, 3).reported == 3
    assert advance(current, 1000.0).phase is Phase.ABANDONED
    assert advance(accept_group(current, 4), 1000.0, groups_under_way=True).phase is Phase.CLOSING
