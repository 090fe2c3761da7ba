"""Secret Sharer: phrases of random words are planted on some devices; does the trained model prefer them to others?

| here         | Ramaswamy et al. 2020, arXiv 2009.10031                  |
|--------------|----------------------------------------------------------|
| phrase       | canary: five words drawn at random                       |
| devices      | n_u, users that share the canary                         |
| copies       | n_e, examples of it on each                              |
| rank         | random sampling: among phrases with the same two words at their beginning |
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from evaluation.audit.settings import SecretSharerSettings
from evaluation.predictors import NetworkPredictor
from evaluation.rehearsal.people import draw_seed
from protocol.arrays import FloatArray
from protocol.weights import Weights
from tokenizer.vocabulary import START_ID, Vocabulary

PREFIX_WORDS, SECRET_WORDS = 2, 3


class Phrase(NamedTuple):
    """One planted phrase.

    Attributes:
      ids: of its words.
      devices: that carry it.
      copies: messages with it on each of them.

    """

    ids: tuple[int, ...]
    devices: int
    copies: int


class Exposure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much better than chance a model knows the phrases of one kind.

    Attributes:
      devices: that carried each of them.
      copies: on each device.
      ranks: of each phrase among `ranked`, 1 if the model prefers it to all others.
      ranked: phrases, itself included.

    """

    devices: int
    copies: int
    ranks: tuple[int, ...]
    ranked: int

    @property
    def mean(self) -> float:
        """Mean exposure in bits, log2(ranked / rank): 1.44 for phrases never seen, at most log2(ranked)."""
        return sum(math.log2(self.ranked / rank) for rank in self.ranks) / len(self.ranks)

    @property
    def first(self) -> int:
        """Phrases that the model prefers to all others."""
        return sum(rank == 1 for rank in self.ranks)


class SecretSharerArm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model knows.

    Attributes:
      noise_multiplier: z of its training; None before any.
      epsilon: proven; None where there is no guarantee.
      delta: of epsilon.
      top1: its recall on people who never trained.
      exposures: by kind, in the order of the settings.

    """

    noise_multiplier: float | None
    epsilon: float | None
    delta: float
    top1: float
    exposures: tuple[Exposure, ...]

    @property
    def name(self) -> str:
        """As tables show it."""
        return "before training" if self.noise_multiplier is None else f"noise {self.noise_multiplier:g}"


@dataclass(frozen=True)
class Planted:
    """Phrases, and the texts with them in."""

    phrases: tuple[Phrase, ...]
    texts: Mapping[str, Sequence[str]]


def plant(
    texts: Mapping[str, Sequence[str]],
    carriers: Sequence[str],
    vocabulary: Vocabulary,
    settings: SecretSharerSettings,
    seed: int,
) -> Planted:
    """Draws phrases and plants them.

    Args:
      texts: of each device.
      carriers: devices that may carry a phrase, in the order in which they are taken.
      vocabulary: whose words phrases are made of.
      settings: how many.
      seed: of the words.

    Raises:
      ValueError: too few devices, or too few words that can be typed.

    """
    if len(carriers) < settings.carriers:
        raise ValueError(f"devices must be at least {settings.carriers} to carry all phrases, got {len(carriers)}")
    words, generator = plain_words(vocabulary), np.random.default_rng(draw_seed(seed, "phrases"))
    phrases = tuple(
        Phrase(_draw(words, PREFIX_WORDS + SECRET_WORDS, generator), devices, copies)
        for devices, copies in settings.rates
        for _ in range(settings.phrases)
    )
    planted, free = {name: list(said) for name, said in texts.items()}, iter(carriers)
    for phrase in phrases:
        text = " ".join(vocabulary.words[index] for index in phrase.ids)
        for _ in range(phrase.devices):
            planted[next(free)] += [text] * phrase.copies
    return Planted(phrases, planted)


def plain_words(vocabulary: Vocabulary) -> list[int]:
    """Ids of words that are typed as they are written."""
    words = [
        index
        for index in sorted(vocabulary.target_ids)
        if vocabulary.encode_message(vocabulary.words[index])[1:] == [index]
    ]
    if len(words) < 10 * (PREFIX_WORDS + SECRET_WORDS):
        raise ValueError(f"the vocabulary must have 50 words that are typed as they are written, got {len(words)}")
    return words


def expose(
    weights: Weights, phrases: Sequence[Phrase], vocabulary: Vocabulary, settings: SecretSharerSettings, seed: int
) -> tuple[Exposure, ...]:
    """Ranks each phrase among random ones that begin with the same words; the same ones for every model."""
    words, by_kind = plain_words(vocabulary), dict[tuple[int, int], list[int]]()
    for number, phrase in enumerate(phrases):
        generator = np.random.default_rng(draw_seed(seed, "references", number))
        prefix = phrase.ids[:PREFIX_WORDS]
        references = [(*prefix, *_draw(words, SECRET_WORDS, generator)) for _ in range(settings.references)]
        own, *others = _log_likelihoods(weights, [phrase.ids, *references])
        rank = 1 + sum(other > own for other in others)
        by_kind.setdefault((phrase.devices, phrase.copies), []).append(rank)
    return tuple(
        Exposure(devices=devices, copies=copies, ranks=tuple(ranks), ranked=settings.references + 1)
        for (devices, copies), ranks in by_kind.items()
    )


def _draw(words: Sequence[int], count: int, generator: np.random.Generator) -> tuple[int, ...]:
    return tuple(generator.choice(words, count, replace=False).tolist())


def _log_likelihoods(weights: Weights, phrases: Sequence[tuple[int, ...]]) -> Iterator[float]:
    """Of what follows the first words of each phrase, in nats."""
    messages = [[START_ID, *ids] for ids in phrases]
    for message, logits in zip(messages, NetworkPredictor(weights).score(messages), strict=True):
        rows = _log_softmax(logits[PREFIX_WORDS:])  # [secret words, vocabulary]
        yield float(rows[np.arange(SECRET_WORDS), message[1 + PREFIX_WORDS :]].sum())


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    values: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return values
