"""Three suggestions after each keystroke: the next word, or the rest of the one being typed."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device_runtime.runtime import Array
from device_runtime.suggestions.blocked import BlockList
from device_runtime.suggestions.next_word import NextWordModel
from device_runtime.suggestions.personal import PersonalModel
from device_runtime.suggestions.personal.cache import Context, context_after
from tokenizer.casing import Casing
from tokenizer.prefix_index import PrefixIndex
from tokenizer.text import OVERLONG_WORD, Token, ends_sentence, tokenize
from tokenizer.vocabulary import Vocabulary

NUM_SUGGESTIONS = 3

_CONTEXT_CHARS = 256
"""Context is the last 256 to 511 characters and moves on in strides, so that a long text costs no more than a short
one."""
_PROBE = "x"
"""A letter: the word that it would lengthen is the unfinished one."""

IdArray = npt.NDArray[np.int64]
ScoreArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class Suggestion(NamedTuple):
    """A word as it should be shown, and the probability that it is the one meant, among all candidates."""

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

    def __init__(
        self,
        prediction_model: bytes,
        vocabulary: Vocabulary,
        casing: Casing,
        *,
        num_threads: int = 1,
        personal: PersonalModel | None = None,
        blocked: BlockList | None = None,
    ):
        """Loads a release's files; see `device_runtime.releases.release`.

        Args:
          prediction_model: a TFLite file.
          vocabulary: of the model.
          casing: gives suggestions their capitals.
          num_threads: threads an operator may use.
          personal: the person's own words, mixed in while they help.
          blocked: words that are never suggested.

        Raises:
          InvalidModel: no prediction model, or one for a vocabulary of another size.

        """
        self._model = NextWordModel(prediction_model, vocabulary, num_threads=num_threads)
        self._vocabulary = vocabulary
        self._casing = casing
        self._personal = personal
        self._blocked = blocked or BlockList()
        allowed = [int(index) for index in self._model.target_ids if vocabulary.words[index] not in self._blocked]
        self._words_by_prefix = PrefixIndex(vocabulary.words, allowed)
        self.reset()
        if personal is not None:
            personal.blend(self._model)  # reading the log takes a moment: not at the first keystroke

    def reset(self) -> None:
        """Forgets the text: the next one begins a message."""
        self._steps: list[_Step] = []
        self._outlook = self._model.start
        self._ready_for: Context | None = None

    def suggest(self, text_before_cursor: str) -> list[Suggestion]:
        """The likeliest words, best first: at most three, fewer if fewer words begin as the unfinished one does.

        Any text is answered: emoji, lone surrogates, NUL, right-to-left text and endless words too.

        Args:
          text_before_cursor: of the message being typed, from its beginning; only the last 256 to 511 characters of
            it matter.

        Raises:
          InvalidModel: an operator failed.

        """
        finished, unfinished = split_text(recent(text_before_cursor))
        if unfinished.text == OVERLONG_WORD:
            return []
        self._read(finished)
        self._score(context_after(finished))
        candidates = self._candidates(unfinished.text)
        if not len(candidates):
            return []
        at_start = not finished or ends_sentence(finished[-1])
        return [
            Suggestion(self._spelling(row, unfinished.surface, at_start=at_start), probability)
            for row, probability in _best(self._scores, candidates)
        ]

    def _read(self, tokens: list[Token]) -> None:
        """Brings the model to the end of `tokens`, from as far back as the text has changed."""
        wanted = self._vocabulary.encode(tokens)
        known = [step.token_id for step in self._steps]
        if wanted == known:
            return
        common = next((i for i, (a, b) in enumerate(zip(wanted, known, strict=False)) if a != b), len(known))
        # The logits are kept for the last token only: of a text that became shorter, it is read again.
        del self._steps[max(0, min(common, len(wanted) - 1)) :]
        self._outlook = self._model.start
        self._ready_for = None
        for token_id in wanted[len(self._steps) :]:
            self._advance(token_id)

    def _advance(self, token_id: int) -> None:
        before = self._steps[-1].state if self._steps else self._model.start.state
        self._outlook = self._model.read(before, token_id)
        self._steps.append(_Step(token_id, self._outlook.state))

    def _score(self, context: Context) -> None:
        """Scores every word for this place, once for all keystrokes of a word."""
        if context == self._ready_for:
            return
        self._blend = self._personal.blend(self._model) if self._personal else None
        self._scores: ScoreArray = self._outlook.logits
        if self._blend is not None:
            mixed = self._blend.probabilities(self._outlook, context)
            self._scores = np.log(np.maximum(mixed, np.finfo(np.float64).tiny))
        self._ready_for = context

    def _candidates(self, prefix: str) -> IdArray:
        """Rows of the words that may be suggested: the vocabulary's, then the person's own."""
        rows = self._words_by_prefix.starting_with(prefix)
        if self._blend is None:
            return rows
        own = [row for row in self._blend.starting_with(prefix) if self._blend.word(row) not in self._blocked]
        return np.concatenate([rows, np.array(own, dtype=np.int64)])

    def _spelling(self, row: int, typed: str, *, at_start: bool) -> str:
        """Capitals as the person types them, or as the place asks for them where nothing is typed yet."""
        usual = self._usual(row, starts_sentence=typed[:1].isupper() if typed else at_start)
        if len(typed) > 1 and typed.isupper():
            return usual.upper()
        return usual[:1].upper() + usual[1:] if typed[:1].isupper() else usual

    def _usual(self, row: int, *, starts_sentence: bool) -> str:
        if self._blend is None or row < len(self._vocabulary):
            return self._casing.restore(self._vocabulary.words[row], starts_sentence=starts_sentence)
        word = self._blend.word(row)
        spelling = self._blend.spelling(word)
        return self._casing.restore(word, starts_sentence=starts_sentence) if spelling == word else spelling


def recent(text: str) -> str:
    """The end of a text: its last 256 to 511 characters, from the beginning of a word where there is a space.

    Where it begins moves in strides, so that while typing the same words come before the cursor again and again.

    >>> recent("short text"), len(recent("a word " * 1000)) in range(249, 512)
    ('short text', True)
    """
    first = max(0, len(text) // _CONTEXT_CHARS - 1) * _CONTEXT_CHARS
    if first == 0:
        return text
    _, space, whole_words = text[first:].partition(" ")
    return whole_words if space else text[first:]


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


def _best(scores: ScoreArray, candidates: IdArray) -> list[tuple[int, float]]:
    """The likeliest candidates and their probabilities by a softmax over all candidates."""
    scores = scores[candidates]
    weights = np.exp(scores - scores.max())
    if len(scores) > NUM_SUGGESTIONS:
        top = np.argpartition(scores, -NUM_SUGGESTIONS)[-NUM_SUGGESTIONS:]
    else:
        top = np.arange(len(scores))
    ranked = top[np.argsort(-scores[top], kind="stable")]
    return [(int(candidates[index]), float(weights[index] / weights.sum())) for index in ranked]
