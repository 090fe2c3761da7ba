"""A plan is one of bounded, finite parameters, and has one encoding."""

import json
import math

import msgspec
import numpy as np
import pytest

from protocol.clipping import clip_to_norm
from protocol.distributed_noise import value_bits_needed
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
    noise_target,
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


GROUPS = SecureAggregationParameters(value_bits=20, min_members=20, max_members=30)
BY_DEVICES = msgspec.structs.replace(
    PLAN, privacy=msgspec.structs.replace(PLAN.privacy, noise_by="devices"), secure_aggregation=GROUPS
)


def test_plans_of_before_there_was_noise_by_devices_keep_their_bytes():
    assert b"noise_by" not in encode_plan(PLAN)
    assert PLAN.shared_noise is None
    assert decode_plan(encode_plan(BY_DEVICES)) == BY_DEVICES


def test_devices_agree_on_a_share_that_every_group_lives_by():
    """Of 20 all must stay; of 21 three may drop out but one, and two be corrupt, which leaves fewer than of 20."""
    shared = BY_DEVICES.shared_noise
    assert shared.num_honest == min(max(20, n - math.ceil(n / 10)) - math.ceil(n / 20) for n in range(20, 31)) == 18
    assert shared.num_honest * shared.sigma**2 >= 0.1**2 * shared.quantiser.squared_bound
    assert BY_DEVICES.quantiser == shared.quantiser
    assert BY_DEVICES.l2_sensitivity == shared.quantiser.l2_bound > BY_DEVICES.privacy.l2_clip_norm


@pytest.mark.parametrize(
    ("privacy", "secure", "told"),
    [
        ({"noise_multiplier": 0}, {}, "noise_multiplier must be a finite number > 0"),
        ({"noise_multiplier": 10_000}, {"value_bits": 12}, "value_bits must leave noise"),
        ({"noise_multiplier": 2}, {"value_bits": 8}, "value_bits must leave noise"),
        ({}, {"mode": "semi_malicious"}, "mode must be malicious"),
        ({}, {"mode": "semi_honest"}, "mode must be malicious"),
        ({}, {"min_members": 2, "max_members": 30, "adversary_fraction": 0.45, "dropout_fraction": 0.49}, "honest"),
        ({}, None, "secure_aggregation must be there"),
        ({"noise_by": "nobody"}, {}, "Invalid enum value"),
        (
            {"noise_multiplier": 1.0, "count_noise": 5.0},
            {},
            "noise_by must be service for adaptive clipping, got devices",
        ),
    ],
)
def test_noise_that_devices_cannot_make_is_refused(privacy, secure, told):
    text = json.loads(encode_plan(BY_DEVICES))
    text["privacy"].update(privacy)
    text["secure_aggregation"] = None if secure is None else text["secure_aggregation"] | secure
    with pytest.raises(MalformedMessage, match="plan") as error:
        decode_plan(json.dumps(text).encode())
    assert told in str(error.value.__cause__ or error.value.__context__ or error.value)


@pytest.mark.parametrize(("noise_multiplier", "value_bits"), [(0.5, 16), (1.0, 17), (2.0, 18), (4.0, 19), (8.0, 20)])
def test_bits_of_a_full_size_model_in_groups_of_96_to_128(noise_multiplier, value_bits):
    """The table of docs/secure-aggregation.md."""
    secure = SecureAggregationParameters(value_bits=32, min_members=96, max_members=128)
    assert value_bits_needed(noise_target(secure, noise_multiplier, 1_422_250)) == value_bits


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
