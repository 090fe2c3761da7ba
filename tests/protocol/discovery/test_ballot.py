"""What a plan says of a discovery's level, and what it does not let through."""

import secrets
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.discovery.ballot import Ballot
from protocol.discovery.candidates import CandidateList, first_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.discovery.votes import vote_vector
from protocol.errors import MalformedMessage, WrongContent
from protocol.plan import (
    Plan,
    PrivacyParameters,
    SecureAggregationParameters,
    TensorSpec,
    TrainingParameters,
    decode_plan,
    encode_plan,
)
from protocol.secure_aggregation.inputs import decode_sum, encode_input, largest_sum, terms_of
from protocol.secure_aggregation.signing import Task

PARAMETERS = DiscoveryParameters(letters="abc", steps=(2, 1), max_words=4, max_prefixes=3)
FIRST = first_candidates("abc", 2)
SECOND = CandidateList(letters="abc", step=1, prefixes=("ab", "ca"))
BALLOT = Ballot(discovery_id="5" * 32, level=0, num_candidates=FIRST.size, parameters=PARAMETERS)
PLAN = Plan(
    kind="discovery",
    tensors=(TensorSpec(name="weights", shape=(7,)),),
    training=TrainingParameters(batch_size=1, sequence_length=4, local_epochs=1, learning_rate=1.0, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=2.0, noise_multiplier=1.0, report_goal=10, minimum_separation_s=0.0),
    secure_aggregation=SecureAggregationParameters(value_bits=8, min_members=5, max_members=20),
    discovery=BALLOT,
)
TASK = Task(population="tests", round_id="a" * 32, plan_sha256=bytes(32))


def changed(section: str | None, **values: Any) -> bytes:
    fields = msgspec.to_builtins(PLAN)
    (fields if section is None else fields[section]).update(values)
    return msgspec.json.encode(fields)


def test_a_plan_of_a_discovery_survives_the_wire() -> None:
    assert decode_plan(encode_plan(PLAN)) == PLAN
    assert (PLAN.update_size, PLAN.l2_sensitivity, PLAN.quantiser) == (13, 2.0, None)
    assert terms_of(PLAN, TASK).vector_length == 13


def test_other_plans_do_not_show_that_there_are_discoveries() -> None:
    training = msgspec.structs.replace(PLAN, kind="training", discovery=msgspec.UNSET)
    assert b"discovery" not in encode_plan(training)
    assert training.ballot is None


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (None, {"kind": "training"}),
        (None, {"kind": "evaluation"}),
        (None, {"discovery": None}),
        (None, {"update_format": "int16"}),
        ("privacy", {"noise_multiplier": 0.0}),
        ("privacy", {"l2_clip_norm": 2.1}),
        ("privacy", {"l2_clip_norm": 1.9}),
        ("privacy", {"count_noise": 1.0}),
        ("privacy", {"noise_by": "devices"}),
        ("discovery", {"level": 2}),
        ("discovery", {"level": -1}),
        ("discovery", {"num_candidates": 14}),
        ("discovery", {"num_candidates": 0}),
        ("discovery", {"discovery_id": "word"}),
        ("secure_aggregation", {"max_members": 129}),
    ],
)
def test_plans_that_contradict_themselves_are_refused(section: str | None, values: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage) as refused:
        decode_plan(changed(section, **values))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("candidates", "name"),
    [
        (first_candidates("abd", 2), "letters"),
        (first_candidates("abc", 1), "step"),
        (CandidateList(letters="abc", step=2, prefixes=("ab",)), "depth"),
    ],
)
def test_a_list_of_another_level_is_refused(candidates: CandidateList, name: str) -> None:
    with pytest.raises(WrongContent, match=f"^{name} of a candidate list must be the plan's"):
        BALLOT.check_list(candidates)


def test_a_list_of_another_size_is_refused() -> None:
    second = Ballot(discovery_id="5" * 32, level=1, num_candidates=8, parameters=PARAMETERS)
    assert second.check_list(SECOND) is SECOND
    with pytest.raises(WrongContent, match="size of a candidate list must be the plan's, 8, got 12"):
        second.check_list(CandidateList(letters="abc", step=1, prefixes=("aa", "ab", "ca")))


def test_a_discovery_knows_its_last_level_and_what_the_next_adds() -> None:
    second = Ballot(discovery_id="5" * 32, level=1, num_candidates=8, parameters=PARAMETERS)
    assert [(each.is_last, each.next_step) for each in (BALLOT, second)] == [(False, 1), (True, None)]


@given(st.lists(st.lists(st.text("abc", max_size=4), max_size=6), min_size=1, max_size=20))
def test_masked_inputs_of_votes_add_up_to_numbers_of_devices(typed: list[list[str]]) -> None:
    votes = [vote_vector(words, FIRST, max_words=4) for words in typed]
    lanes = [encode_input(each, PLAN, TASK, secrets.token_bytes) for each in votes]
    total = decode_sum(np.sum(lanes, axis=0, dtype=np.uint8), PLAN, TASK, len(typed))
    np.testing.assert_array_equal(total, np.sum(votes, axis=0))
    assert np.linalg.norm(total) <= largest_sum(PLAN, len(typed))
