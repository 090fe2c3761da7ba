"""The shared model at work: a release's prediction network, read one token at a time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device_runtime.runtime import Array, InvalidModel, Model, TensorDetails
from protocol.arrays import FloatArray
from tokenizer.text import Token
from tokenizer.vocabulary import START_ID, Vocabulary

PREDICT = "predict"
FLOOR = 1e-7
"""Probability that a word counts with which a model cannot suggest, so that comparisons stay finite."""

_PROJECTED = "state_projection"  # r_t in `model.forward`, whose product with the embedding gives the logits

DoubleArray = npt.NDArray[np.float64]


class Interrupted(Exception):
    """Computing on the log was stopped from outside. What was computed is dropped."""


def never() -> bool:
    """The poll of a process that nobody stops."""
    return False


class Outlook(NamedTuple):
    """What the network foresees after a token.

    Attributes:
      logits: float32 [vocabulary], of the next token.
      state: the recurrent state by the name of its tensor.

    """

    logits: FloatArray
    state: dict[str, Array]


class NextWordModel:
    """A prediction model and its vocabulary. For one thread at a time."""

    def __init__(self, prediction_model: bytes, vocabulary: Vocabulary, *, num_threads: int = 1):
        """Loads the model.

        Raises:
          InvalidModel: no prediction model, or one for a vocabulary of another size.

        """
        self._predict = Model(prediction_model, num_threads=num_threads).signature(PREDICT)
        self.identity = hashlib.sha256(prediction_model).hexdigest()
        """Tells models apart, as fine-tuned weights fit one only."""
        self.vocabulary = vocabulary
        self.target_ids = np.array(sorted(vocabulary.target_ids), dtype=np.int64)
        self._check()
        nothing = {name: np.zeros(d.shape, d.dtype) for name, d in self._predict.inputs.items() if name != "token"}
        self.start = self.read(nothing, START_ID)
        """What every message begins with."""
        if not np.isfinite(self.start.logits).all():
            raise InvalidModel("prediction model must give finite logits")

    def _check(self) -> None:
        inputs, outputs = dict(self._predict.inputs), dict(self._predict.outputs)
        expected = TensorDetails((1, len(self.vocabulary)), np.dtype(np.float32))
        if outputs.pop("logits", None) != expected:
            raise InvalidModel(f"prediction model must have logits of shape [1, {len(self.vocabulary)}]")
        if inputs.pop("token", None) != TensorDetails((1,), np.dtype(np.int32)):
            raise InvalidModel("prediction model must have an input token of type int32 and shape [1]")
        if inputs != outputs:
            raise InvalidModel("prediction model must give the state that it takes")

    def read(self, state: Mapping[str, Array], token_id: int) -> Outlook:
        """Reads one token in a state.

        Raises:
          InvalidModel: an operator failed.

        """
        result = self._predict({"token": np.array([token_id], dtype=np.int32), **state})
        return Outlook(result.pop("logits")[0], result)

    def probabilities(self, logits: FloatArray) -> DoubleArray:
        """A softmax over the words that can be suggested: float64 [vocabulary], 0 for all other ids."""
        scores = logits[self.target_ids].astype(np.float64)
        shares = np.zeros(len(self.vocabulary))
        weights = np.exp(scores - scores.max(initial=-np.inf))
        shares[self.target_ids] = weights / weights.sum()
        return shares

    def projected(self, state: Mapping[str, Array]) -> FloatArray | None:
        """What the output layer was fed in `state`: float32 [embedding]; None for a network that does not tell."""
        return state[_PROJECTED][0] if _PROJECTED in state else None

    def replay(self, tokens: Sequence[Token]) -> Iterator[tuple[Token, Outlook]]:
        """Reads one message, and says of each of its words what was foreseen before it."""
        outlook = self.start
        for position, token in enumerate(tokens):
            if token.is_word:
                yield token, outlook
            if position + 1 < len(tokens):
                outlook = self.read(outlook.state, self.vocabulary.id_of(token.text))


def log_likelihood(
    model: NextWordModel, messages: Iterable[Sequence[Token]], *, should_stop: Callable[[], bool] = never
) -> DoubleArray:
    """How well a model foresees messages: the natural logarithm of each word's probability, float64 [words].

    A word that the model cannot suggest counts with `FLOOR`, so that models of different vocabularies can be compared.

    Raises:
      InvalidModel: an operator failed.
      Interrupted: `should_stop`, polled before every message, said so.

    """
    shares = [
        model.probabilities(outlook.logits)[model.vocabulary.id_of(token.text)]
        for tokens in polled(messages, should_stop)
        for token, outlook in model.replay(tokens)
    ]
    logarithms: DoubleArray = np.log(np.maximum(np.array(shares, dtype=np.float64), FLOOR))
    return logarithms


def polled(messages: Iterable[Sequence[Token]], should_stop: Callable[[], bool]) -> Iterator[Sequence[Token]]:
    """The messages, as long as `should_stop` does not say so.

    Raises:
      Interrupted: it did.

    """
    for tokens in messages:
        if should_stop():
            raise Interrupted("computing on the log was stopped")
        yield tokens
