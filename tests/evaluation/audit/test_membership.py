"""The audit must be able to fail: noise that is forgotten, halved or taken back is found out."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism, Tree
from evaluation.audit.membership import ALL, FINAL, Canaries, MembershipArm, attack_membership
from evaluation.audit.noises import GridNoise, Noise, Promise, mechanisms, random_bytes
from evaluation.audit.settings import AuditSettings, MembershipSettings
from evaluation.rehearsal.settings import RehearsalSettings
from evaluation.rehearsal.ways import Sent
from model.network import NetworkShape
from protocol.arrays import FloatArray
from protocol.plan import TrainingParameters

ROUNDS = 4
CHOSEN = MembershipSettings(canaries=200, rounds=ROUNDS, min_separation=2, max_participations=2)
MECHANISMS = mechanisms(ROUNDS, 2, 2)


class Nobody:
    def reports(self, weights: FloatArray, number: int) -> Iterable[Sent]:
        return []


def the_settings(**changes: object) -> RehearsalSettings:
    training = TrainingParameters(batch_size=8, sequence_length=12, local_epochs=1, learning_rate=1, max_words=1000)
    shape = NetworkShape(vocabulary_size=150, embedding_size=24, num_units=40)
    shared = RehearsalSettings(shape=shape, max_messages=30, training=training, l2_clip_norm=0.5, **changes)
    return AuditSettings(rehearsal=shared, membership=CHOSEN).canary_rounds


def a_promise(mechanism: Mechanism) -> Promise:
    return Promise(
        mechanism=mechanism,
        noise_multiplier=1.0,
        l2_clip_norm=0.5,
        rounds=ROUNDS,
        min_separation=2,
        max_participations=2,
    )


def audit(promise: Promise, noise: Noise | None = None) -> MembershipArm:
    settings = the_settings()
    weights = np.zeros(settings.shape.num_weights, np.float32)
    really = noise or GridNoise(promise, weights.size, random_bytes(1, promise))
    return attack_membership("some", promise, really, Nobody(), settings=settings, weights=weights, chosen=CHOSEN)


def weakened(promise: Promise, factor: float) -> Noise:
    weak = replace(promise, noise_multiplier=promise.noise_multiplier * factor)
    return GridNoise(weak, the_settings().shape.num_weights, random_bytes(1, promise))


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_sound_mechanism_passes_and_the_attack_works(name: str) -> None:
    arm = audit(a_promise(MECHANISMS[name]))
    final, every = arm.found
    assert arm.contradictions == []
    assert (final.sees, every.sees) == (FINAL, ALL)
    assert every.bound > 0.5 * arm.proven
    assert final.bound <= every.bound
    assert abs(every.deviation - 1) < 0.2


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_forgotten_and_halved_noise_is_found_out(name: str, factor: float) -> None:
    promise = a_promise(MECHANISMS[name])
    arm = audit(promise, weakened(promise, factor))
    assert arm.found[1].bound > arm.proven
    assert f"finds epsilon >= {arm.found[1].bound:.2f}" in arm.contradictions[-1]
    assert f"proven are {arm.proven:.2f}" in arm.contradictions[-1]


def test_a_trees_noise_that_is_accounted_as_fresh_is_found_out_in_the_model() -> None:
    """Each draw is as wide as promised, but later rounds take most of it back."""
    recalled = GridNoise(a_promise(Tree(ROUNDS)), the_settings().shape.num_weights, random_bytes(1))
    arm = audit(a_promise(Independent()), recalled)
    assert arm.found[0].bound > arm.proven


def test_the_same_audit_finds_the_same_of_every_canary() -> None:
    promise = a_promise(Independent())
    arm = audit(promise)
    assert arm == audit(promise)
    for found in arm.found:
        assert sum(found.inside.counts) == sum(found.outside.counts) == CHOSEN.canaries


def test_canaries_are_the_same_each_time_and_nearly_orthogonal() -> None:
    canaries = Canaries("inside", 50, 5_000, seed=4)
    one, other = np.stack(list(canaries)), np.stack(list(canaries))
    np.testing.assert_array_equal(one, other)
    products = one @ one.T
    np.testing.assert_allclose(np.diag(products), 1, rtol=1e-5)
    assert np.abs(products - np.diag(np.diag(products))).max() < 0.08
    assert not np.array_equal(one, np.stack(list(Canaries("outside", 50, 5_000, seed=4))))


def test_canaries_of_something_else_are_normal() -> None:
    statistics = Canaries("inside", 2_000, 3_000, seed=9).statistics(np.arange(3_000.0))
    assert abs(statistics.mean()) < 0.1
    assert abs(statistics.std() - 1) < 0.06


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="observed must not be zero"):
        Canaries("inside", 3, 10, seed=1).statistics(np.zeros(10))
    with pytest.raises(ValueError, match="rounds must be the 5 of the promise, got 4"):
        audit(replace(a_promise(Independent()), rounds=5))
