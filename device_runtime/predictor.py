"""Three suggestions after each keystroke: the next word, or the rest of the one being typed."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device_runtime.runtime import Array, InvalidModel, Model
from protocol.weights import FloatArray
from tokenizer.casing import Casing
from tokenizer.prefix_index import PrefixIndex
from tokenizer.text import OVERLONG_WORD, Token, ends_sentence, tokenize
from tokenizer.vocabulary import START_ID, Vocabulary

NUM_SUGGESTIONS = 3
PREDICT = "predict"

_CONTEXT_STRIDE = 64
"""Context is 64 to 127 tokens and moves on in strides, so that a long text costs no more than a short one."""
_PROBE = "x"
"""A letter: the word that it would lengthen is the unfinished one."""

IdArray = npt.NDArray[np.int64]


class Suggestion(NamedTuple):
    """A word as it should be shown, and the model's probability that it is the one meant, among all candidates."""

    word: str
    probability: float


class Split(NamedTuple):
    """Text before the cursor: the tokens that are finished, and the word that is not (empty between words)."""

    finished: list[Token]
    unfinished: Token


class _Step(NamedTuple):
    """A token that the model has read, and its state after it."""

    token_id: int
    state: dict[str, Array]


class Predictor:
    """Suggests words with a release's prediction model. For one text field of one thread at a time.

    The recurrent state is carried from keystroke to keystroke: it is kept for every token read, so that typing on costs
    one step of the network a word, and deleting costs at most one.
    """

    def __init__(self, prediction_model: bytes, vocabulary: Vocabulary, casing: Casing, *, num_threads: int = 1):
        """Loads a release's files; see `device_runtime.release`.

        Raises:
          InvalidModel: no prediction model, or one for a vocabulary of another size.

        """
        self._predict = Model(prediction_model, num_threads=num_threads).signature(PREDICT)
        self._vocabulary = vocabulary
        self._casing = casing
        logits = self._predict.outputs.get("logits")
        if logits is None or logits.shape != (1, len(vocabulary)):
            raise InvalidModel(f"prediction model must have logits of shape [1, {len(vocabulary)}]")
        self._words_by_prefix = PrefixIndex(vocabulary.words, sorted(vocabulary.target_ids))
        self._zero_state = {
            name: np.zeros(details.shape, details.dtype)
            for name, details in self._predict.inputs.items()
            if name != "token"
        }
        self.reset()

    def reset(self) -> None:
        """Forgets the text: the next one begins a message."""
        self._steps: list[_Step] = []
        self._logits: FloatArray = np.zeros(len(self._vocabulary), np.float32)

    def suggest(self, text_before_cursor: str) -> list[Suggestion]:
        """The likeliest words, best first: at most three, fewer if fewer words begin as the unfinished one does.

        Args:
          text_before_cursor: of the message being typed, from its beginning.

        """
        finished, unfinished = split_text(text_before_cursor)
        if unfinished.text == OVERLONG_WORD:
            return []
        candidates = self._words_by_prefix.starting_with(unfinished.text)
        if not len(candidates):
            return []
        self._read(finished)
        return [
            Suggestion(self._spelling(self._vocabulary.words[index], finished, unfinished.surface), probability)
            for index, probability in _best(self._logits, candidates)
        ]

    def _read(self, tokens: list[Token]) -> None:
        """Brings the model to the end of `tokens`, from as far back as the text has changed."""
        first = max(0, len(tokens) // _CONTEXT_STRIDE - 1) * _CONTEXT_STRIDE
        wanted = [START_ID, *self._vocabulary.encode(tokens[first:])]
        known = [step.token_id for step in self._steps]
        if wanted == known:
            return
        common = next((i for i, (a, b) in enumerate(zip(wanted, known, strict=False)) if a != b), len(known))
        # The logits are kept for the last token only: of a text that became shorter, it is read again.
        del self._steps[min(common, len(wanted) - 1) :]
        for token_id in wanted[len(self._steps) :]:
            self._advance(token_id)

    def _advance(self, token_id: int) -> None:
        state = self._steps[-1].state if self._steps else self._zero_state
        result = self._predict({"token": np.array([token_id], dtype=np.int32), **state})
        self._logits = result.pop("logits")[0]
        self._steps.append(_Step(token_id, result))

    def _spelling(self, word: str, finished: list[Token], typed: str) -> str:
        """Capitals as the person types them, or as the place asks for them where nothing is typed yet."""
        at_start = not finished or ends_sentence(finished[-1])
        usual = self._casing.restore(word, starts_sentence=typed[:1].isupper() if typed else at_start)
        if len(typed) > 1 and typed.isupper():
            return usual.upper()
        return usual[:1].upper() + usual[1:] if typed[:1].isupper() else usual


def split_text(text: str) -> Split:
    """Splits the text before the cursor by the tokenizer's own definition of a word.

    >>> [token.text for token in split_text("I can't go. May").finished], split_text("I can't go. May").unfinished.text
    (['i', "can't", 'go', '.'], 'may')
    >>> split_text("done ").unfinished.text
    ''
    """
    *finished, probed = tokenize(text + _PROBE)
    if probed.text == OVERLONG_WORD:
        return Split(finished, probed)
    return Split(finished, Token(probed.text[: -len(_PROBE)], probed.surface[: -len(_PROBE)], is_word=True))


def _best(logits: FloatArray, candidates: IdArray) -> list[tuple[int, float]]:
    """The likeliest candidates and their probabilities by a softmax over all candidates."""
    scores = logits[candidates]
    weights = np.exp(scores - scores.max())
    if len(scores) > NUM_SUGGESTIONS:
        top = np.argpartition(scores, -NUM_SUGGESTIONS)[-NUM_SUGGESTIONS:]
    else:
        top = np.arange(len(scores))
    ranked = top[np.argsort(-scores[top], kind="stable")]
    return [(int(candidates[index]), float(weights[index] / weights.sum())) for index in ranked]
