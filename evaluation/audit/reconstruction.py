"""Reconstruction: how many of a device's words two attacks find in what `views` lets an adversary see.

That of `words` knows nothing but the update; that of `weighing` knows how frequent words are, and counts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from evaluation.audit.views import View
from evaluation.audit.weighing import Habits, learn_habits, weigh
from evaluation.audit.words import Ids, Seen, Vector, bias_changes, name_words
from evaluation.rehearsal.people import draw_seed
from protocol.arrays import FloatArray
from protocol.plan import TensorSpec
from tokenizer.vocabulary import Vocabulary


class Typist(NamedTuple):
    """A device under attack: its clipped update, float32 [num_weights], and how often it trained on each word."""

    update: FloatArray
    counts: Counter[int]

    @property
    def typed(self) -> Ids:
        """The distinct words that it trained on."""
        return frozenset(self.counts)


class Weighed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the attack that weighs frequencies found by one view, as means over devices; `Recovered` has the terms.

    Attributes:
      named: words that are likelier typed than not.
      precision: of the named.
      recall: of the device's distinct words.
      precision_of_guess: if as many of the most frequent words are named unseen.
      recall_of_guess: likewise.
      precision_of_times: share of the occurrences that the attack counts which the device typed.
      recall_of_times: share of the device's occurrences that it counts.

    """

    named: float
    precision: float
    recall: float
    precision_of_guess: float
    recall_of_guess: float
    precision_of_times: float
    recall_of_times: float


class Recovered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found by one view, as means over devices.

    Attributes:
      view: how updates were sent.
      members: devices whose updates are seen as one.
      named: words that the attack names.
      precision: share of these that the device typed; 0 where none are named.
      recall: share of the device's distinct words that are named.
      precision_of_group: share of the named that anybody of the group typed.
      precision_of_guess: share that the device typed, if as many of the most frequent words are named unseen.
      recall_of_guess: share of the device's distinct words that are named so.
      weighed: by the other attack.

    """

    view: str
    members: int
    named: float
    precision: float
    recall: float
    precision_of_group: float
    precision_of_guess: float
    recall_of_guess: float
    weighed: Weighed


class Reconstruction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found of all devices.

    Attributes:
      devices: under attack.
      typed: distinct words of a device, on average.
      words: that may be named.
      views: in the order of tables.

    """

    devices: int
    typed: float
    words: int
    views: tuple[Recovered, ...]


class _Target(NamedTuple):
    """What is public of an attack's aim: tensors, ids of words, the most frequent first, and how frequent they are."""

    specs: Sequence[TensorSpec]
    frequent: Sequence[int]
    shares: Vector
    habits: Habits


_Scores = dict[str, float]


def reconstruct(
    typists: Sequence[Typist],
    views: Sequence[View],
    specs: Sequence[TensorSpec],
    vocabulary: Vocabulary,
    *,
    seed: int,
    on_view: Callable[[], None] = lambda: None,
) -> Reconstruction:
    """Attacks all devices by every view; the last ones, which fill no group, are left out there.

    Args:
      typists: at least as many as the largest group has members.
      views: see there.
      specs: tensors of an update.
      vocabulary: whose frequencies are public.
      seed: of rounding and noise.
      on_view: called after each view, for a progress bar.

    """
    target = _aim(typists, specs, vocabulary)
    recovered = []
    for view in views:
        groups = [
            typists[first : first + view.members] for first in range(0, len(typists) - view.members + 1, view.members)
        ]
        seen = [
            view.see([typist.update for typist in group], draw_seed(seed, view.name, number))
            for number, group in enumerate(groups)
        ]
        named = _mean(each for group, what in zip(groups, seen, strict=True) for each in _name(group, what, target))
        weighed = _mean(each for group, what in zip(groups, seen, strict=True) for each in _weigh(group, what, target))
        recovered.append(Recovered(view=view.name, members=view.members, weighed=Weighed(**weighed), **named))
        on_view()
    typed = sum(len(typist.typed) for typist in typists) / len(typists)
    return Reconstruction(devices=len(typists), typed=typed, words=len(target.frequent), views=tuple(recovered))


def words_of(texts: Mapping[str, Sequence[str]], name: str, vocabulary: Vocabulary) -> Counter[int]:
    """How often a device's texts have each of the words that can be suggested, by id."""
    ids = (index for text in texts[name] for index in vocabulary.encode_message(text))
    return Counter(index for index in ids if index in vocabulary.target_ids)


def _aim(typists: Sequence[Typist], specs: Sequence[TensorSpec], vocabulary: Vocabulary) -> _Target:
    frequent = sorted(vocabulary.target_ids, key=lambda index: (-vocabulary.log_probabilities[index], index))
    shares = np.exp([vocabulary.log_probabilities[index] for index in frequent])
    shares /= shares.sum()
    biases = [bias_changes(typist.update.astype(np.float64), specs, frequent) for typist in typists]
    counts = [_counts(typist, frequent) for typist in typists]
    return _Target(specs, frequent, shares, learn_habits(biases, counts, shares))


def _name(group: Sequence[Typist], seen: Seen, target: _Target) -> Iterator[_Scores]:
    """What was found of each of a group by `words`."""
    named = name_words(seen, target.specs, target.frequent)
    anybodys = frozenset[int]().union(*(typist.typed for typist in group))
    for typist in group:
        yield _scores(named, typist, target) | {"precision_of_group": _share(len(named & anybodys), len(named))}


def _weigh(group: Sequence[Typist], seen: Seen, target: _Target) -> Iterator[_Scores]:
    """What was found of each of a group by `weighing`."""
    bias = bias_changes(seen.update, target.specs, target.frequent)
    belief = weigh(bias, seen.error, target.shares, target.habits, len(group))
    named = frozenset(target.frequent[place] for place in np.flatnonzero(belief.typed >= 0.5))
    times = np.rint(belief.times)
    for typist in group:
        counts = _counts(typist, target.frequent)
        common = float(np.minimum(times, counts).sum())
        yield _scores(named, typist, target) | {
            "precision_of_times": _share(common, float(times.sum())),
            "recall_of_times": _share(common, float(counts.sum())),
        }


def _scores(named: Ids, typist: Typist, target: _Target) -> _Scores:
    guessed = frozenset(target.frequent[: len(named)])
    return {
        "named": len(named),
        "precision": _share(len(named & typist.typed), len(named)),
        "recall": _share(len(named & typist.typed), len(typist.typed)),
        "precision_of_guess": _share(len(guessed & typist.typed), len(guessed)),
        "recall_of_guess": _share(len(guessed & typist.typed), len(typist.typed)),
    }


def _counts(typist: Typist, words: Sequence[int]) -> Vector:
    return np.array([typist.counts[index] for index in words], np.float64)


def _mean(scores: Iterable[_Scores]) -> _Scores:
    every = list(scores)
    return {name: sum(each[name] for each in every) / len(every) for name in every[0]}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
