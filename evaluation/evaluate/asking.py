"""Asks a predictor for every word of some people's messages, each kind of predictor in its own way."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice

import numpy as np

from evaluation.answers import MISSED, NUM_SUGGESTIONS, Answers, read_scores
from evaluation.evaluate.contestants import Answerer
from evaluation.evaluate.people import Person
from evaluation.predictors import Personal, Predictor, Suggester
from evaluation.targets import SuggestionIndex, type_messages
from evaluation.typist import TypedWord, type_text
from protocol.arrays import FloatArray
from tokenizer.text import lower, tokenize
from tokenizer.vocabulary import START_ID, UNKNOWN_ID, Vocabulary

WARM_UP = 10
"""Keystrokes that are not timed: the first ones load what later ones find."""


def ask(answerer: Answerer, people: Sequence[Person], index: SuggestionIndex, vocabulary: Vocabulary) -> Answers:
    """Asks for every word of `people`'s later messages.

    Args:
      answerer: scores everything at once, or types key by key; a personal one meets each person first.
      people: whose position is `Answers.user`.
      index: the words that may be suggested.
      vocabulary: by which words are known.

    Raises:
      InvalidScores: the answerer gave NaN, or rows of another shape.

    """
    if isinstance(answerer, Predictor):
        return _ask_for_scores(answerer, people, index, vocabulary)
    parts = []
    for user, person in enumerate(people):
        with ExitStack() as stack:
            met = stack.enter_context(answerer.meet(person.earlier)) if isinstance(answerer, Personal) else answerer
            for message in person.later:
                parts.append(_read_typed(list(type_text(message.text, met)), vocabulary, user))
                if isinstance(answerer, Personal):  # others serve all people: what one taught them, all would see
                    met.learn(message.text)
    return Answers.join(parts)


def _ask_for_scores(
    predictor: Predictor, people: Sequence[Person], index: SuggestionIndex, vocabulary: Vocabulary
) -> Answers:
    typed = [
        (user, message)
        for user, person in enumerate(people)
        for message in type_messages((each.text for each in person.later), vocabulary)
    ]
    typed.sort(key=lambda pair: len(pair[1].ids))  # so that a predictor which pads its batches wastes little
    scored = predictor.score([message.ids for _, message in typed])
    return Answers.join(
        read_scores(message, scores, index, user=user) for (user, message), scores in zip(typed, scored, strict=True)
    )


def _read_typed(words: Sequence[TypedWord], vocabulary: Vocabulary, user: int) -> Answers:
    count = len(words)
    return Answers(
        user=np.full(count, user, np.int64),
        message_words=np.full(count, count, np.int64),
        letters=np.array([len(word.token.text) for word in words], np.int64),
        known=np.array([vocabulary.id_of(word.token.text) != UNKNOWN_ID for word in words], np.bool_),
        rank=np.array([MISSED if word.rank is None else word.rank for word in words], np.int64),
        typed=np.array([min(word.letters, len(word.token.text)) for word in words], np.int64),
        log_likelihood=np.full(count, np.nan),
        confidence=np.full(count, np.nan),
    )


def time_keystrokes(
    answerer: Answerer, people: Sequence[Person], index: SuggestionIndex, vocabulary: Vocabulary, count: int
) -> list[float]:
    """Milliseconds from a keystroke to its suggestions, one keystroke at a time, of one person after the other.

    Whoever only scores is asked for the scores of the next word and the best three that fit.
    """
    times: list[float] = []
    for person in people:
        with ExitStack() as stack:
            if isinstance(answerer, Personal):
                suggester = stack.enter_context(answerer.meet(person.earlier))
            elif isinstance(answerer, Suggester):
                suggester = answerer
            else:
                suggester = _BestOfScores(answerer, index, vocabulary)
            strokes = islice(_keystrokes(message.text for message in person.later), count + WARM_UP - len(times))
            times.extend(_time_one(suggester, *stroke) for stroke in strokes)
        if len(times) == count + WARM_UP:
            break
    return times[min(WARM_UP, len(times) - 1) :]


def _time_one(suggester: Suggester, before: str, prefix: str) -> float:
    began = time.perf_counter_ns()
    suggester.suggest(before, prefix)
    return (time.perf_counter_ns() - began) / 1e6


def _keystrokes(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The text before each word and the letters typed of it, for every number of letters but all."""
    for text in texts:
        before = ""
        for token in tokenize(text):
            if token.is_word:
                yield from ((before, token.surface[:letters]) for letters in range(len(token.surface)))
            before += token.surface + " "


class _BestOfScores:
    """A suggester made of a predictor, to see how long one keystroke takes it."""

    def __init__(self, predictor: Predictor, index: SuggestionIndex, vocabulary: Vocabulary):
        self._predictor, self._index, self._vocabulary = predictor, index, vocabulary

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        # The last id of a message is never read, only asked for: any will do.
        (scores,) = self._predictor.score([[*self._vocabulary.encode_message(before), START_ID]])
        fitting = self._index.ids[slice(*self._index.span(lower(prefix)))]
        return [self._vocabulary.words[index] for index in _best(scores[-1], fitting)]

    def learn(self, message: str) -> None:
        """Learns nothing."""


def _best(scores: FloatArray, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    kept = ids if len(ids) <= NUM_SUGGESTIONS else ids[np.argpartition(-scores[ids], NUM_SUGGESTIONS)[:NUM_SUGGESTIONS]]
    return sorted(kept.tolist(), key=lambda index: -scores[index])
