from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz
from aggregation_service.rounds.optimizer import ServerAverage, ServerMomentum
from device_runtime.rounds.trainer import LocalUpdate
from evaluation.experiments.federated import Server, run_rounds
from evaluation.experiments.settings import Federated, Noise
from evaluation.rehearsal.people import cohorts_in_turn
from model.network import NetworkShape, initial_weights
from protocol.weights import flatten

SHAPE = NetworkShape(vocabulary_size=10, embedding_size=3, num_units=4)
START = initial_weights(SHAPE, 1)
PEOPLE = {f"user{number}": [f"text {number}"] for number in range(10)}


class Pullers:
    """Devices that pull every weight a little towards a number of their own, drawn from their seed."""

    def __init__(self, scale: float = 0.1):
        self.scale = scale
        self.calls = 0

    def train(self, checkpoint, jobs):
        self.calls += 1
        return [LocalUpdate(self._pull(flatten(checkpoint, SHAPE.tensors), job.seed), 1, 1, 1.0, 1.0) for job in jobs]

    def _pull(self, weights, seed):
        return ((np.random.default_rng(seed).normal() - weights) * self.scale).astype(np.float32)


PUBLIC = {f"public {number}": [f"public text {number}"] for number in range(6)}


def run(training, keep, trainers=None, on_round=lambda: None):
    server = Server.begin(training, SHAPE, START)
    weights = run_rounds(
        server,
        PEOPLE,
        trainers or Pullers(),
        keep=keep,
        curve_top1=lambda weights: float(abs(weights["gate_bias"]).mean()),
        curve_every=4,
        on_round=on_round,
        public=PUBLIC if training.public_devices else {},
    )
    return server, flatten(weights, SHAPE.tensors)


def made(folder):
    folder.mkdir()
    return folder


@settings(deadline=None)
@given(st.integers(1, 10), st.integers(0, 5))
def test_everybody_has_a_turn_before_anybody_comes_again(cohort, seed):
    turns = list(islice(cohorts_in_turn(sorted(PEOPLE), cohort, seed), 10 // cohort))
    drawn = [user for turn in turns for user in turn]
    assert len(set(drawn)) == len(drawn) == 10 // cohort * cohort


def test_a_cohort_needs_as_many_people():
    with pytest.raises(ValueError, match="at least 11 devices"):
        next(cohorts_in_turn(sorted(PEOPLE), 11, 1))


def test_rounds_go_on_where_they_were_interrupted(tmp_path):
    class Interrupted(Exception):
        """As by Ctrl-C."""

    def interrupt():
        told.append(1)
        if len(told) == 13:
            raise Interrupted

    training = Federated(start="x", rounds=17, cohort=4, optimizer=ServerMomentum(momentum=0.5, learning_rate=1.0))
    told: list[int] = []
    whole_server, whole = run(training, made(tmp_path / "whole"))
    part = made(tmp_path / "part")
    with pytest.raises(Interrupted):
        run(training, part, on_round=interrupt)
    trainers = Pullers()
    server, resumed = run(training, part, trainers)
    assert trainers.calls == 7, "ten rounds were kept"
    np.testing.assert_array_equal(resumed, whole)
    assert server.curve == whole_server.curve
    assert [point.round for point in server.curve] == [4, 8, 12, 16]


def test_updates_are_clipped_and_divided_by_the_cohort(tmp_path):
    training = Federated(
        start="x", rounds=1, cohort=5, l2_clip_norm=0.25, optimizer=ServerAverage(learning_rate=1.0), averaged=1
    )
    _, weights = run(training, tmp_path, Pullers(scale=100.0))
    moved = weights - flatten(START, SHAPE.tensors)
    assert 0 < np.linalg.norm(moved) <= 0.25 * (1 + 1e-3)


def test_public_devices_take_part_beside_the_cohort_and_nobody_twice_in_a_turn(tmp_path):
    class Watched(Pullers):
        """Remembers whose texts were trained."""

        def train(self, checkpoint, jobs):
            trained.append([job.texts[0] for job in jobs])
            return [LocalUpdate(np.full_like(flatten(checkpoint, SHAPE.tensors), 0.01), 1, 1, 1.0, 1.0) for _ in jobs]

    trained: list[list[str]] = []
    training = Federated(
        start="x", rounds=2, cohort=5, public_devices=3, optimizer=ServerAverage(learning_rate=1.0), averaged=1
    )
    _, weights = run(training, tmp_path, Watched())
    assert [sum(text.startswith("public") for text in texts) for texts in trained] == [3, 3]
    assert {text for texts in trained for text in texts} == {
        text for texts in (PEOPLE | PUBLIC).values() for text in texts
    }
    np.testing.assert_allclose(weights - flatten(START, SHAPE.tensors), 0.02, rtol=1e-2)


def test_an_update_that_is_not_finite_counts_as_none(tmp_path):
    training = Federated(start="x", rounds=1, cohort=5, averaged=1)
    _, weights = run(training, tmp_path, Pullers(scale=float("nan")))
    np.testing.assert_array_equal(weights, flatten(START, SHAPE.tensors))


def test_the_average_has_the_noise_of_the_production_cohort(tmp_path):
    """With buffered noise the first round's is fresh: of deviation z C / cohort of production."""
    noise = Noise(
        mechanism=BufferedToeplitz((0.9,), (0.5,)),
        noise_multiplier=4.0,
        cohort=100,
        devices=1000,
        rounds=10,
        epsilon=1.0,
        delta=1e-6,
    )
    deviations = []
    for cohort in (2, 10):
        training = Federated(
            start="x", rounds=1, cohort=cohort, l2_clip_norm=3.0, noise=noise, averaged=1, optimizer=ServerAverage()
        )
        _, weights = run(training, made(tmp_path / str(cohort)), Pullers(scale=0.0))
        deviations.append(float((weights - flatten(START, SHAPE.tensors)).std()))
    np.testing.assert_allclose(deviations, 4.0 * 3.0 / 100, rtol=0.3)  # 100 weights: 7 % is one standard error
