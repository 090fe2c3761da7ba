"""A plan is one of bounded, finite parameters, and has one encoding."""

import json

import numpy as np
import pytest

from protocol.clipping import clip_to_norm
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


def adaptive(**values):
    return decode_plan(changed("privacy", **{"noise_multiplier": 1.0, "count_noise": 5.0, **values}))


def test_a_plan_whose_clipping_adapts_has_reports_of_one_coordinate_more_and_a_longer_norm():
    plan = adaptive()
    assert (plan.num_weights, plan.update_size) == (50, 51)
    assert plan.l2_sensitivity == plan.privacy.report_norm == pytest.approx(1 / 0.99**0.5, rel=1e-12)
    assert decode_plan(encode_plan(plan)) == plan
    secure = decode_plan(json.dumps(json.loads(encode_plan(plan)) | {"secure_aggregation": SECURE}).encode())
    assert secure.quantiser.vector_length == 51
    assert secure.quantiser.l2_clip_norm == plan.privacy.report_norm < secure.l2_sensitivity


@pytest.mark.parametrize(
    "values",
    [
        {"count_noise": 0},
        {"count_noise": -1},
        {"count_noise": 0.5},  # costs by itself what all may
        {"count_noise": 1e9},
        {"count_noise": "5"},
        {"noise_multiplier": 0},
    ],
    ids=str,
)
def test_absurd_noise_on_a_count_is_refused(values):
    with pytest.raises(MalformedMessage):
        adaptive(**values)


def test_an_evaluation_has_no_count():
    with pytest.raises(MalformedMessage):
        decode_plan(json.dumps(json.loads(encode_plan(adaptive())) | {"kind": "evaluation"}).encode())


def test_what_a_device_reports_is_its_clipped_update_and_a_bit_if_the_plan_counts():
    clipped = clip_to_norm(np.full(50, 1.0, np.float32), 1.0)
    assert PLAN.privacy.report(clipped) is clipped.update
    assert PLAN.privacy.bit_per_device == 0
    report = adaptive().privacy.report(clipped)
    assert report[-1] == pytest.approx(-adaptive().privacy.bit_per_device / 2, rel=1e-6)
