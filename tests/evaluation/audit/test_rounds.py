from collections.abc import Iterable

import numpy as np
import pytest

from aggregation_service.rounds.accumulator import SumArray
from evaluation.audit.rounds import RealCohorts, add_up, run_rounds
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import OneProcess
from evaluation.rehearsal.people import draw_cohorts
from evaluation.rehearsal.settings import RehearsalSettings
from evaluation.rehearsal.ways import Sent
from protocol.arrays import FloatArray
from protocol.clipping import l2_norm
from protocol.weights import flatten


class Towards:
    """Devices that all want the weights to be `aim`, and send how far they are from it."""

    def __init__(self, aim: FloatArray, devices: int):
        self._aim, self._devices = aim, devices

    def reports(self, weights: FloatArray, number: int) -> Iterable[Sent]:
        return [Sent(self._aim - weights, forged=False)] * self._devices


class NoNoise:
    def add(self, total: SumArray) -> SumArray:
        return total


def test_rounds_go_on_from_what_was_released(ground: Ground) -> None:
    settings: RehearsalSettings = ground.settings
    aim = np.full(settings.shape.num_weights, 1e-3, np.float32)
    begin = np.zeros_like(aim)
    closed = list(run_rounds(settings, begin, Towards(aim, 5), NoNoise(), report_goal=10))
    assert len(closed) == settings.rounds
    for number, each in enumerate(closed, start=1):
        np.testing.assert_allclose(each.weights, aim * (1 - 0.5**number), rtol=1e-5)
    np.testing.assert_allclose(closed[0].released, 5 * aim, rtol=1e-6)


def test_the_sum_bounds_each_update(ground: Ground) -> None:
    plan = ground.settings.plain_plan
    update = np.full(plan.update_size, 1.0, np.float32)
    total = add_up((Sent(update, forged=True) for _ in range(130)), plan)
    assert np.linalg.norm(total) == pytest.approx(130 * plan.privacy.l2_clip_norm)


def test_devices_that_diverged_do_not_enter_the_sum(ground: Ground) -> None:
    plan = ground.settings.plain_plan
    broken = np.full(plan.update_size, np.nan, np.float32)
    assert not add_up([Sent(broken, forged=True)], plan).any()


def test_real_cohorts_train_their_own_texts(ground: Ground) -> None:
    settings, texts = ground.settings, ground.people.training
    trainer = OneProcess(settings.plain_plan, ground.graph, ground.vocabulary.model)
    cohorts = RealCohorts(settings, texts, trainer)
    assert cohorts.cohorts == draw_cohorts(sorted(texts), settings)
    weights = flatten(ground.pretrained, settings.shape.tensors)
    sent = list(cohorts.reports(weights, 0))
    assert len(sent) == settings.cohort
    assert all(0 < l2_norm(each.update) <= settings.l2_clip_norm for each in sent)
    again = list(cohorts.reports(weights, 0))
    np.testing.assert_array_equal(sent[0].update, again[0].update)
