from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from evaluation.audit.reconstruction import Typist, reconstruct, words_of
from evaluation.audit.words import Seen
from evaluation.rehearsal.ground import Ground
from protocol.arrays import FloatArray


@dataclass(frozen=True)
class Sum:
    """A view that adds up."""

    members: int

    @property
    def name(self) -> str:
        return f"sum of {self.members}"

    def see(self, updates: Sequence[FloatArray], seed: int) -> Seen:
        return Seen(np.sum(updates, axis=0, dtype=np.float64), 0.0)


def a_typist(ground: Ground, typed: set[int], risen: set[int]) -> Typist:
    """A device whose update gives `risen` away by its biases, and nothing else."""
    shape = ground.settings.shape
    update = np.zeros(shape.num_weights, np.float32)
    update[-shape.vocabulary_size :][list(risen)] = 1
    return Typist(update, Counter(typed))


def test_scores_are_shares_of_named_and_of_typed_words(ground: Ground) -> None:
    ids = sorted(ground.vocabulary.target_ids)
    typists = [
        a_typist(ground, {ids[0], ids[1], ids[2], ids[3]}, {ids[0], ids[1]}),
        a_typist(ground, {ids[0], ids[9]}, {ids[8], ids[9]}),
    ]
    specs = ground.settings.shape.tensors
    found = reconstruct(typists, [Sum(1), Sum(2)], specs, ground.vocabulary, seed=1)
    alone, together = found.views
    assert (found.devices, found.typed, found.words) == (2, 3, len(ids))
    assert (alone.named, alone.precision, alone.recall) == (2, 0.75, 0.5)
    assert alone.precision_of_group == alone.precision
    assert (together.named, together.precision, together.recall) == (4, 0.5, 0.75)
    assert together.precision_of_group == 0.75


def test_a_guess_names_as_many_of_the_most_frequent_words(ground: Ground) -> None:
    vocabulary = ground.vocabulary
    frequent = sorted(vocabulary.target_ids, key=lambda index: -vocabulary.log_probabilities[index])
    typist = a_typist(ground, {frequent[0], frequent[-1]}, {frequent[-1], frequent[-2]})
    (view,) = reconstruct([typist], [Sum(1)], ground.settings.shape.tensors, vocabulary, seed=1).views
    assert view.precision_of_guess == 0.5
    assert view.recall_of_guess == 0.5


def test_naming_nothing_is_no_precision(ground: Ground) -> None:
    typist = a_typist(ground, {next(iter(ground.vocabulary.target_ids))}, set())
    (view,) = reconstruct([typist], [Sum(1)], ground.settings.shape.tensors, ground.vocabulary, seed=1).views
    assert (view.named, view.precision, view.recall, view.precision_of_guess) == (0, 0, 0, 0)


def test_devices_that_fill_no_group_are_left_out(ground: Ground) -> None:
    ids = sorted(ground.vocabulary.target_ids)
    typists = [a_typist(ground, {ids[place]}, {ids[place]}) for place in range(5)]
    seen = []
    specs = ground.settings.shape.tensors
    found = reconstruct(typists, [Sum(2)], specs, ground.vocabulary, seed=1, on_view=lambda: seen.append(1))
    assert found.views[0].precision == 0.5
    assert seen == [1]


def test_words_are_those_that_can_be_suggested(ground: Ground) -> None:
    word = ground.vocabulary.words[sorted(ground.vocabulary.target_ids)[0]]
    found = words_of({"a": [f"{word}, {word}! nosuchword"]}, "a", ground.vocabulary)
    assert found == {ground.vocabulary.id_of(word): 2}


def test_an_unknown_device_is_a_key_error(ground: Ground) -> None:
    with pytest.raises(KeyError):
        words_of({}, "nobody", ground.vocabulary)
