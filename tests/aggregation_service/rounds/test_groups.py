"""Whose turn it is, at every stage."""

import pytest

from aggregation_service.rounds.groups import (
    SENT_AT,
    STAGES_UNDER_WAY,
    TOLD_AT,
    Stage,
    Turn,
    is_past,
    stage_before,
    turn_to_be_told,
    turn_to_send,
)


def test_each_stage_takes_one_message_and_tells_one() -> None:
    assert list(SENT_AT.values()) == list(TOLD_AT.values()) == list(STAGES_UNDER_WAY)
    assert [stage_before(stage) for stage in STAGES_UNDER_WAY] == [None, *STAGES_UNDER_WAY[:-1]]


@pytest.mark.parametrize("wanted", STAGES_UNDER_WAY)
@pytest.mark.parametrize("stage", Stage)
def test_a_message_is_taken_at_its_stage_only(stage: Stage, wanted: Stage) -> None:
    turn = turn_to_send(stage, wanted, takes_part=True)
    assert (turn is Turn.NOW) == (stage is wanted)
    assert (turn is Turn.NOT_YET) == (stage in STAGES_UNDER_WAY and is_past(wanted, stage))
    assert turn_to_send(stage, wanted, takes_part=False) is Turn.OVER


@pytest.mark.parametrize("wanted", STAGES_UNDER_WAY)
@pytest.mark.parametrize("stage", Stage)
def test_a_message_is_told_from_its_stage_on_while_the_group_is_under_way(stage: Stage, wanted: Stage) -> None:
    answered = turn_to_be_told(stage, wanted, takes_part=True, has_answered=True)
    silent = turn_to_be_told(stage, wanted, takes_part=True, has_answered=False)
    if stage not in STAGES_UNDER_WAY:
        assert answered is silent is Turn.OVER
    elif is_past(wanted, stage):
        assert (answered, silent) == (Turn.LATER, Turn.NOT_YET)
    else:
        assert answered is silent is Turn.NOW
    assert turn_to_be_told(stage, wanted, takes_part=False, has_answered=True) is Turn.OVER
