"""Updates as integers: what devices encode adds up, modulo 2^b, to what the service decodes."""

import secrets

import msgspec
import numpy as np
import pytest

from protocol.arrays import FloatArray
from protocol.keystream import Keystream
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TensorSpec, TrainingParameters
from protocol.secure_aggregation.errors import WeakParameters
from protocol.secure_aggregation.inputs import NotSecure, decode_sum, encode_input, require_floor, terms_of
from protocol.secure_aggregation.signing import Task

SECURE = SecureAggregationParameters(value_bits=16, min_members=5, max_members=20)
PLAN = Plan(
    tensors=(TensorSpec(name="bias", shape=(700,)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=2.0, noise_multiplier=0.5, report_goal=3, minimum_separation_s=60.0),
    secure_aggregation=SECURE,
)
TASK = Task(population="en-gb", round_id="a" * 32, plan_sha256=bytes(32))


def updates(number: int, norm: float = 1.5) -> list[FloatArray]:
    generator = np.random.default_rng(number)
    drawn = generator.normal(size=(number, 700))
    return list((norm * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32))


def test_the_sum_of_the_integers_is_that_of_the_updates() -> None:
    sent = updates(20)
    lanes = np.zeros(700, np.uint16)
    for update in sent:
        lanes += encode_input(update, PLAN, TASK, secrets.token_bytes)
    found = decode_sum(lanes, PLAN, TASK, 20)
    assert np.linalg.norm(found - np.sum(sent, axis=0)) < 0.05


def test_another_round_turns_another_way() -> None:
    (update,) = updates(1)
    lanes = encode_input(update, PLAN, TASK, secrets.token_bytes)
    other = msgspec.structs.replace(TASK, round_id="b" * 32)
    assert np.linalg.norm(decode_sum(lanes, PLAN, other, 1) - update) > 1


def test_long_updates_are_clipped_and_the_plan_tells_the_sensitivity() -> None:
    (update,) = updates(1, norm=50.0)
    found = decode_sum(encode_input(update, PLAN, TASK, secrets.token_bytes), PLAN, TASK, 1)
    assert np.linalg.norm(found) <= PLAN.l2_sensitivity
    assert 2.0 < PLAN.l2_sensitivity < 2.1
    assert msgspec.structs.replace(PLAN, secure_aggregation=None).l2_sensitivity == 2.0


def test_the_terms_are_the_plans() -> None:
    terms = terms_of(PLAN, TASK)
    assert (terms.task, terms.value_bits, terms.vector_length, terms.min_members) == (TASK, 16, 700, 5)
    assert (terms.adversary_fraction, terms.dropout_fraction, terms.mode) == (0.05, 0.1, "malicious")


@pytest.mark.parametrize(
    "weaker",
    [{"mode": "semi_honest"}, {"min_members": 4}, {"adversary_fraction": 0.04}, {"dropout_fraction": 0.26}],
)
def test_no_plan_goes_below_the_devices_floor(weaker: dict[str, object]) -> None:
    require_floor(SECURE)
    with pytest.raises(WeakParameters):
        require_floor(msgspec.structs.replace(SECURE, **weaker))


def test_a_plain_plan_has_no_terms() -> None:
    plain = msgspec.structs.replace(PLAN, secure_aggregation=None)
    assert plain.quantiser is None
    with pytest.raises(NotSecure):
        terms_of(plain, TASK)
    with pytest.raises(NotSecure):
        encode_input(updates(1)[0], plain, TASK, secrets.token_bytes)
    with pytest.raises(NotSecure):
        decode_sum(np.zeros(700, np.uint16), plain, TASK, 1)


NOISY = msgspec.structs.replace(
    PLAN,
    privacy=msgspec.structs.replace(PLAN.privacy, noise_multiplier=3.0, noise_by="devices"),
    secure_aggregation=SecureAggregationParameters(value_bits=24, min_members=15, max_members=20),
)


@pytest.mark.parametrize("members", [15, 20])
def test_the_sum_has_the_updates_and_a_share_of_each(members: int) -> None:
    draws = Keystream(bytes(32), b"inputs tests").read
    lanes = np.zeros(700, np.uint32)
    sent = updates(members)
    for update in sent:
        lanes += encode_input(update, NOISY, TASK, draws)
    shared = NOISY.shared_noise
    assert shared is not None
    noise = decode_sum(lanes, NOISY, TASK, members) - np.sum(sent, axis=0)
    variances = noise @ noise / 700 / shared.deviation(members) ** 2
    assert abs(variances - 1) < 0.25, "chi-square: 4.6 deviations of it"
    assert np.linalg.norm(noise) > 3.0 * NOISY.l2_sensitivity, "as all 700 coordinates have that deviation"


def test_one_update_with_its_share_tells_little() -> None:
    (update,) = updates(1)
    seen = decode_sum(encode_input(update, NOISY, TASK, secrets.token_bytes), NOISY, TASK, 1)
    assert np.linalg.norm(seen - update) > 10 * np.linalg.norm(update)
