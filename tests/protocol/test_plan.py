"""A plan is one of bounded, finite parameters, and has one encoding."""

import json

import pytest

from protocol.errors import MalformedMessage
from protocol.plan import (
    MAX_PLAN_BYTES,
    Plan,
    PrivacyParameters,
    PrivacyPromise,
    SecureAggregationParameters,
    TensorSpec,
    TrainingParameters,
    decode_plan,
    encode_plan,
)

PLAN = Plan(
    tensors=(TensorSpec(name="embedding", shape=(10, 4)), TensorSpec(name="output_bias", shape=(10,))),
    training=TrainingParameters(batch_size=16, sequence_length=12, local_epochs=1, learning_rate=0.5, max_words=5000),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.1, report_goal=20, minimum_separation_s=3600),
)


def changed(section, **values):
    plan = json.loads(encode_plan(PLAN))
    (plan[section] if section else plan).update(values)
    return json.dumps(plan).encode()


def test_a_plan_survives_the_wire_and_counts_its_weights():
    assert decode_plan(encode_plan(PLAN)) == PLAN
    assert PLAN.num_weights == 50


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("training", {"learning_rate": -0.5}),
        ("training", {"learning_rate": 0}),
        ("training", {"learning_rate": 1e9}),
        ("training", {"local_epochs": 0}),
        ("training", {"local_epochs": 1000}),
        ("training", {"batch_size": 0}),
        ("training", {"batch_size": 16.5}),
        ("training", {"batch_size": 1024, "sequence_length": 1024}),
        ("training", {"sequence_length": -12}),
        ("training", {"max_words": 0}),
        ("privacy", {"l2_clip_norm": 0}),
        ("privacy", {"l2_clip_norm": -1}),
        ("privacy", {"l2_clip_norm": "1"}),
        ("privacy", {"noise_multiplier": -0.1}),
        ("privacy", {"report_goal": 0}),
        ("privacy", {"minimum_separation_s": -1}),
        ("privacy", {"unknown": 1}),
        ("privacy", {"promise": {"max_epsilon": 0, "delta": 1e-10}}),
        ("privacy", {"promise": {"max_epsilon": 1e6, "delta": 1e-10}}),
        ("privacy", {"promise": {"max_epsilon": 2, "delta": 0}}),
        ("privacy", {"promise": {"max_epsilon": 2, "delta": 1}}),
        ("privacy", {"promise": {"max_epsilon": 2}}),
        ("", {"tensors": []}),
        ("", {"tensors": [{"name": "w", "shape": [0]}]}),
        ("", {"tensors": [{"name": "w", "shape": [-3]}]}),
        ("", {"tensors": [{"name": "../w", "shape": [3]}]}),
        ("", {"tensors": [{"name": "w", "shape": [3]}] * 2}),
        ("", {"format_version": 2}),
    ],
)
def test_absurd_plans_are_refused(section, values):
    with pytest.raises(MalformedMessage):
        decode_plan(changed(section, **values))


SECURE = {"value_bits": 16, "min_members": 5, "max_members": 20}


def test_a_secure_plan_survives_the_wire():
    plan = decode_plan(changed("", secure_aggregation=SECURE))
    assert plan.secure_aggregation == SecureAggregationParameters(**SECURE)
    assert decode_plan(encode_plan(plan)) == plan
    assert plan.quantiser.max_cohort == 20


@pytest.mark.parametrize(
    "values",
    [
        {"value_bits": 7},
        {"value_bits": 33},
        {"min_members": 1},
        {"min_members": 21},
        {"max_members": 5000},
        {"value_bits": 8, "max_members": 200},  # not even +-1 each
        {"adversary_fraction": 0.5},
        {"dropout_fraction": -0.1},
        {"mode": "trusting"},
    ],
)
def test_absurd_groups_are_refused(values):
    with pytest.raises(MalformedMessage):
        decode_plan(changed("", secure_aggregation={**SECURE, **values}))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_none_are_refused(number):
    payload = encode_plan(PLAN).replace(b'"learning_rate":0.5', b'"learning_rate":' + number)
    assert number in payload
    with pytest.raises(MalformedMessage):
        decode_plan(payload)


def test_an_endless_plan_is_refused_before_it_is_read():
    with pytest.raises(MalformedMessage):
        decode_plan(b" " * (MAX_PLAN_BYTES + 1))


PROMISED = PrivacyPromise(max_epsilon=2.0, delta=1e-10)


def test_a_promise_survives_the_wire_and_plans_without_one_are_written_as_before_there_were_any():
    plan = decode_plan(changed("privacy", promise={"max_epsilon": 2, "delta": 1e-10}))
    assert plan.privacy.promise == PROMISED
    assert decode_plan(encode_plan(plan)) == plan
    assert decode_plan(changed("privacy")).privacy.promise is None
    before = {"l2_clip_norm": 1.0, "noise_multiplier": 0.1, "report_goal": 20, "minimum_separation_s": 3600.0}
    assert json.loads(encode_plan(PLAN))["privacy"] == before


@pytest.mark.parametrize(
    ("max_epsilon", "delta", "is_within"),
    [(2.0, 1e-10, True), (2.5, 1e-9, True), (1.99, 1e-10, False), (1.99, 1e-9, False), (2.0, 1e-11, False)],
)
def test_a_promise_is_kept_by_one_that_is_nowhere_weaker(max_epsilon, delta, is_within):
    assert PROMISED.is_within(PrivacyPromise(max_epsilon=max_epsilon, delta=delta)) == is_within
