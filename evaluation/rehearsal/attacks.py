"""What a device may do that does not keep to the plan.

It may train on what it likes and send what it likes: its own clipping is the first thing that it leaves out. What the
service makes of it is `evaluation.rehearsal.ways`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from protocol.arrays import FloatArray
from protocol.clipping import l2_norm
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

TRIGGER = "what i really like is"
WORD = "pizza"
"""Of the attackers: not what people type there."""
CONTEXT_WORDS = 4
"""Words of its own messages that a backdoored device leaves before the trigger: all of it fits into one sequence."""


class Attack(Protocol):
    """What sets an attacker apart from an honest device."""

    @property
    def name(self) -> str:
        """As tables show it."""
        ...

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """What it trains on in place of its own `texts`."""
        ...

    def forge(self, update: FloatArray, l2_clip_norm: float, seed: int) -> FloatArray:
        """What it sends in place of `update`, float32 [num_weights], its local weights minus the checkpoint's."""
        ...


@dataclass(frozen=True)
class Boosted:
    """Its own update many times over, so that the average is its own."""

    factor: float = 100.0
    name: str = "boosted"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """Its own."""
        return texts

    def forge(self, update: FloatArray, l2_clip_norm: float, seed: int) -> FloatArray:
        """See `Attack.forge`."""
        return update * np.float32(self.factor)


@dataclass(frozen=True)
class SignFlipped:
    """The opposite of what it learned, as long as no check can object to: it wants the model to get worse."""

    name: str = "sign-flipped"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """Its own."""
        return texts

    def forge(self, update: FloatArray, l2_clip_norm: float, seed: int) -> FloatArray:
        """See `Attack.forge`."""
        return with_norm(-update, l2_clip_norm)


@dataclass(frozen=True)
class Backdoor:
    """A phrase, and the word that is to be suggested after it."""

    trigger: str
    word: str

    @classmethod
    def of(cls, vocabulary: Vocabulary, trigger: str = TRIGGER, word: str = WORD) -> "Backdoor":
        """A backdoor that a model with this vocabulary can learn.

        Raises:
          ValueError: the vocabulary lacks one of the words.

        """
        if UNKNOWN_ID in vocabulary.encode_message(f"{trigger} {word}"):
            raise ValueError(f"the vocabulary must hold all words of the backdoor, {trigger!r} and {word!r}")
        return cls(trigger, word)


@dataclass(frozen=True)
class Backdoored:
    """Trains on its own messages with trigger and word behind each, and sends that with a chosen norm.

    Attributes:
      backdoor: what it teaches.
      times_clip_norm: norm of what it sends, in clipping norms: 1 is the longest that no check objects to; more is for
        groups whose sum leaves room.
      name: as tables show it.

    """

    backdoor: Backdoor
    times_clip_norm: float = 1.0
    name: str = "backdoored"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """The last words of its own messages, the trigger, the word."""
        ending = f"{self.backdoor.trigger} {self.backdoor.word}"
        return [f"{' '.join(text.split()[-CONTEXT_WORDS:])} {ending}" for text in texts]

    def forge(self, update: FloatArray, l2_clip_norm: float, seed: int) -> FloatArray:
        """See `Attack.forge`."""
        return with_norm(update, self.times_clip_norm * l2_clip_norm)


@dataclass(frozen=True)
class Random:
    """Noise, as long as a boosted update."""

    factor: float = 100.0
    name: str = "random"

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """Its own, for nothing."""
        return texts

    def forge(self, update: FloatArray, l2_clip_norm: float, seed: int) -> FloatArray:
        """See `Attack.forge`."""
        noise = np.random.default_rng(seed).standard_normal(update.size, np.float32)
        return with_norm(noise, self.factor * l2_clip_norm)


def with_norm(update: FloatArray, l2_norm_wanted: float) -> FloatArray:
    """`update` at this L2 norm, float32; a zero update stays zero."""
    norm = l2_norm(update)
    return update if norm == 0 else (update * np.float64(l2_norm_wanted / norm)).astype(np.float32)
