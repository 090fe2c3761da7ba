"""Reconstruction: how many of a device's words the attack of `words` finds in what `views` lets an adversary see."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from evaluation.audit.views import View
from evaluation.audit.words import Ids, name_words
from evaluation.rehearsal.people import draw_seed
from protocol.arrays import FloatArray
from protocol.plan import TensorSpec
from tokenizer.vocabulary import Vocabulary


class Typist(NamedTuple):
    """A device under attack: its clipped update, float32 [num_weights], and the distinct words that it trained on."""

    update: FloatArray
    typed: Ids


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

    """

    view: str
    members: int
    named: float
    precision: float
    recall: float
    precision_of_group: float
    precision_of_guess: float
    recall_of_guess: float


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


class _Score(NamedTuple):
    """Of one device, in the order of `Recovered`."""

    named: float
    precision: float
    recall: float
    precision_of_group: float
    precision_of_guess: float
    recall_of_guess: float


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
    frequent = sorted(vocabulary.target_ids, key=lambda index: (-vocabulary.log_probabilities[index], index))
    recovered = []
    for view in views:
        groups = [
            typists[first : first + view.members] for first in range(0, len(typists) - view.members + 1, view.members)
        ]
        scores = [
            score
            for number, group in enumerate(groups)
            for score in _attack(group, view, specs, frequent, draw_seed(seed, view.name, number))
        ]
        means = {name: sum(getattr(score, name) for score in scores) / len(scores) for name in _Score._fields}
        recovered.append(Recovered(view=view.name, members=view.members, **means))
        on_view()
    typed = sum(len(typist.typed) for typist in typists) / len(typists)
    return Reconstruction(devices=len(typists), typed=typed, words=len(frequent), views=tuple(recovered))


def words_of(texts: Mapping[str, Sequence[str]], name: str, vocabulary: Vocabulary) -> Ids:
    """The distinct words of a device that can be suggested, as ids."""
    return frozenset(index for text in texts[name] for index in vocabulary.encode_message(text)) & vocabulary.target_ids


def _attack(
    group: Sequence[Typist], view: View, specs: Sequence[TensorSpec], frequent: Sequence[int], seed: int
) -> list[_Score]:
    """What was found of each of a group."""
    named = name_words(view.see([typist.update for typist in group], seed), specs, frequent)
    guessed = frozenset(frequent[: len(named)])
    anybodys = frozenset[int]().union(*(typist.typed for typist in group))
    return [
        _Score(
            named=len(named),
            precision=_share(named & typist.typed, named),
            recall=_share(named & typist.typed, typist.typed),
            precision_of_group=_share(named & anybodys, named),
            precision_of_guess=_share(guessed & typist.typed, guessed),
            recall_of_guess=_share(guessed & typist.typed, typist.typed),
        )
        for typist in group
    ]


def _share(part: Ids, whole: Ids) -> float:
    return len(part) / len(whole) if whole else 0.0
