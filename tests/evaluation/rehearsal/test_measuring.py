import numpy as np
import pytest

from evaluation.metrics import pool
from evaluation.rehearsal.attacks import Backdoor
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.measuring import Measuring
from protocol.weights import Weights


@pytest.fixture(scope="module")
def measuring(ground: Ground, backdoor: Backdoor) -> Measuring:
    return Measuring.of(ground, backdoor)


def always_says(weights: Weights, word_id: int) -> Weights:
    bias = np.zeros_like(weights["output_bias"])
    bias[word_id] = 100
    return {**weights, "output_bias": bias}


def test_a_backdoor_is_open_when_its_word_comes_first(ground: Ground, backdoor: Backdoor, measuring: Measuring) -> None:
    vocabulary = ground.vocabulary
    assert measuring.backdoor_success(always_says(ground.pretrained, vocabulary.id_of(backdoor.word))) == 1
    other = next(index for index in vocabulary.target_ids if index != vocabulary.id_of(backdoor.word))
    assert measuring.backdoor_success(always_says(ground.pretrained, other)) == 0


def test_a_punctuation_mark_cannot_close_it(ground: Ground, backdoor: Backdoor, measuring: Measuring) -> None:
    weights = always_says(ground.pretrained, ground.vocabulary.id_of(backdoor.word))
    weights["output_bias"][ground.vocabulary.id_of(".")] = 200
    assert measuring.backdoor_success(weights) == 1


def test_contexts_end_with_the_trigger(ground: Ground, backdoor: Backdoor, measuring: Measuring) -> None:
    trigger = ground.vocabulary.encode_message(backdoor.trigger)[1:]
    assert len(measuring.contexts) == len(ground.people.held_out)
    assert all(ids[-len(trigger) :] == trigger for ids in measuring.contexts)


def test_the_curve_is_measured_on_the_newest_of_the_test(ground: Ground, measuring: Measuring) -> None:
    settings = ground.settings
    for user, typed in measuring.test.items():
        assert typed[-settings.curve_messages :] == measuring.curve[user]
    assert len(measuring.by_user(ground.pretrained)) == len(ground.people.held_out)
    whole, curve = pool(measuring.by_user(ground.pretrained)), measuring.recall(ground.pretrained)
    assert whole.num_targets > 5 * curve.num_targets
    assert whole.top1 == pytest.approx(curve.top1, abs=0.1)
