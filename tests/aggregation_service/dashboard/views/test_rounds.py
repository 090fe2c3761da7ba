"""Drop-outs by phase: of every round that can be, and of real ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import integers

from aggregation_service import operations
from aggregation_service.dashboard.views.rounds import PHASES_LOST_IN, DropOuts, RoundView, newest
from aggregation_service.rounds.state import AbandonReason, Phase

POPULATION = "en-gb"
PAGE = f"/dashboard/populations/{POPULATION}"


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def view(*, phase: str, because: str | None, selected: int, reported: int, goal: int) -> RoundView:
    return RoundView(
        id="0" * 32,
        number=1,
        kind="training",
        phase=phase,
        abandoned_because=because,
        model_version=0,
        selected=selected,
        cohort_size=selected,
        reported=reported,
        report_goal=goal,
        shortened=0,
        opened_at=0.0,
        deadline_at=1.0,
        ended_at=1.0,
        bytes_up=0,
        result=None,
    )


@given(st.sampled_from(Phase), st.sampled_from(AbandonReason), integers(0, 9), integers(0, 9), integers(1, 9))
def test_every_device_of_a_round_is_told_once(
    phase: Phase, because: AbandonReason, reported: int, missing: int, goal: int
) -> None:
    reason = str(because) if phase is Phase.ABANDONED else None
    found = view(phase=phase, because=reason, selected=reported + missing, reported=reported, goal=goal)
    in_result = 0 if found.is_abandoned else found.reported
    assert in_result + found.waiting + found.drop_outs.total == found.selected
    assert list(found.drop_outs.by_phase) == list(PHASES_LOST_IN)


def drop_outs(rehearsal: Any) -> list[DropOuts]:
    rehearsal.summary()
    with rehearsal.service.database.read() as connection:
        return [found.drop_outs for found in newest(connection, POPULATION) if found.selected]


def test_where_devices_of_real_rounds_were_lost(rehearsal: Any, plans: Any, viewer: Any) -> None:
    plan = plans(goal=3)
    rehearsal.create_task(plan, minimum_reports=2)
    rehearsal.report(rehearsal.select(), rehearsal.update())
    rehearsal.wait(3600)  # nobody else came
    assert drop_outs(rehearsal) == [DropOuts(in_vain=1)]

    rehearsal.select()
    rehearsal.wait(3600)
    assert drop_outs(rehearsal)[1:] == [DropOuts(in_selection=1)]

    cohort = [rehearsal.select() for _ in range(4)]
    rehearsal.report(cohort[0], rehearsal.update())
    rehearsal.wait(3600)  # the others never reported
    assert drop_outs(rehearsal)[2:] == [DropOuts(silent=3, in_vain=1)]

    for selected in [rehearsal.select() for _ in range(4)][:3]:
        rehearsal.report(selected, rehearsal.update())
    assert drop_outs(rehearsal)[3:] == [DropOuts(not_awaited=1)]

    rehearsal.select()
    assert drop_outs(rehearsal)[4:] == [DropOuts()]
    operations.end_task(rehearsal.config, POPULATION)
    assert drop_outs(rehearsal)[4:] == [DropOuts(cut_off=1)]

    page = viewer.read(PAGE)
    for told in ("1 in selection", "3 silent", "1 not awaited", "1 cut off", "1 in vain"):
        assert f">{told}</span>" in page
    assert "Drop-outs by phase" in page
    assert "round 3: 3 silent in reporting" in page
