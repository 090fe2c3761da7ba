"""The vectorised metrics against a person who types letter by letter and sorts the suggestions each time."""

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.answers import NUM_SUGGESTIONS, InvalidScores
from evaluation.metrics import Accuracy, UserCounts, count_message, evaluate, pool
from evaluation.targets import SuggestionIndex, TypedMessage, type_messages
from protocol.arrays import FloatArray
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, UNKNOWN_ID, Vocabulary

WORDS = ["a", "an", "and", "ant", "ante", "be", "bee", "been", "beep", "b", "zoo", "zoom"]
VOCABULARY = Vocabulary(
    train_vocabulary({word: 1 / (1 + n) for n, word in enumerate(WORDS)}, NUM_SPECIAL + len(PUNCTUATION) + len(WORDS))
)
INDEX = SuggestionIndex(VOCABULARY)

texts = st.lists(st.sampled_from([*WORDS, "xylophone", "anteater", ".", "!", "An"]), min_size=1, max_size=7).map(
    " ".join
)


class Table:
    """A predictor that gives prepared scores."""

    def __init__(self, seed: int, levels: int):
        self.generator = np.random.default_rng(seed)
        self.levels = levels

    def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
        for message in messages:
            yield self.draw(len(message) - 1)

    def draw(self, rows: int) -> FloatArray:
        """Few levels make many ties; the lowest is -inf."""
        levels = self.generator.integers(0, self.levels, (rows, len(VOCABULARY))).astype(np.float32)
        levels[:, 0] = 1  # one finite score a row
        return np.where(levels == 0, np.float32(-np.inf), levels)


def suggestions(scores: FloatArray, prefix: str) -> list[int]:
    """What a keyboard shows after `prefix`, by a full sort."""
    fitting = [index for index in VOCABULARY.target_ids if VOCABULARY.words[index].startswith(prefix)]
    return sorted(fitting, key=lambda index: (-scores[index], index))[:NUM_SUGGESTIONS]


def keystrokes_of(scores: FloatArray, target: int) -> int:
    """Types a word letter by letter until it is suggested; a space ends it otherwise."""
    word = VOCABULARY.words[target]
    for letters in range(len(word)):
        if target in suggestions(scores, word[:letters]):
            return letters + 1
    return len(word) + 1


def slowly(message: TypedMessage, scores: FloatArray) -> UserCounts:
    total = UserCounts()
    for row, (target, chars) in enumerate(zip(message.ids[1:], message.word_chars[1:], strict=True)):
        if chars == 0:
            continue
        if target == UNKNOWN_ID:
            total += UserCounts(num_targets=1, num_unknown=1, keystrokes=chars + 1)
            continue
        shown = suggestions(scores[row], "")
        chance = math.exp(scores[row][target]) / np.exp(scores[row].astype(np.float64)).sum()
        total += UserCounts(
            num_targets=1,
            top1_hits=int(shown[0] == target),
            top3_hits=int(target in shown),
            keystrokes=chars + 1,
            keystrokes_saved=chars + 1 - keystrokes_of(scores[row], target),
            log_likelihood=math.log(chance) if chance else -math.inf,
        )
    return total


@settings(max_examples=300)
@given(texts, st.integers(0, 2**32), st.sampled_from([2, 3, 5, 1_000]))
def test_counts_are_those_of_a_person_who_types(text: str, seed: int, levels: int) -> None:
    for message in type_messages([text], VOCABULARY):
        scores = Table(seed, levels).draw(len(message.ids) - 1) / np.float32(levels)
        quick, slow = count_message(message, scores, INDEX), slowly(message, scores)
        assert quick.log_likelihood == pytest.approx(slow.log_likelihood, rel=1e-5, abs=1e-5)
        for name in ("num_targets", "num_unknown", "top1_hits", "top3_hits", "keystrokes", "keystrokes_saved"):
            assert getattr(quick, name) == getattr(slow, name), name


def one(text: str, favourites: list[str]) -> Accuracy:
    """Accuracy on `text` when `favourites` are suggested in this order everywhere."""
    scores = np.zeros(len(VOCABULARY), dtype=np.float32)
    for place, word in enumerate(favourites):
        scores[VOCABULARY.id_of(word)] = 10 - place
    (message,) = type_messages([text], VOCABULARY)
    return pool([count_message(message, np.tile(scores, (len(message.ids) - 1, 1)), INDEX)])


def test_savings_by_hand() -> None:
    assert one("zoom", ["zoom"]).keystroke_savings == 4 / 5  # 1 keystroke instead of 5
    assert one("zoom", ["a", "an", "and"]).keystroke_savings == 3 / 5  # "z", then it shows
    assert one("ante", ["a", "an", "and", "ant"]).keystroke_savings == 1 / 5  # "an" leaves three before it, "ant" one
    assert one("xylophone", ["a"]).keystroke_savings == 0
    assert one("zoom zoom", ["zoom"]).keystroke_savings == 8 / 10


def test_punctuation_is_context_and_never_suggested() -> None:
    accuracy = one("zoom . zoom !", [".", "!", ",", "zoom"])
    assert (accuracy.num_targets, accuracy.top1, accuracy.top3) == (2, 1.0, 1.0)


def test_unknown_words_count_as_misses() -> None:
    accuracy = one("zoom xylophone", ["zoom"])
    assert (accuracy.num_targets, accuracy.num_unknown, accuracy.top1) == (2, 1, 0.5)
    assert one("xylophone", ["zoom"]).perplexity is None


def test_equal_scores_go_by_id() -> None:
    """All scores are equal: the first three target ids are suggested, and no others."""
    first = sorted(VOCABULARY.target_ids)[: NUM_SUGGESTIONS + 1]
    shares = [one(VOCABULARY.words[index], []).top3 for index in first]
    assert shares == [1.0, 1.0, 1.0, 0.0]


def test_perplexity_of_even_scores_is_the_size_of_the_vocabulary() -> None:
    assert one("zoo bee and", []).perplexity == pytest.approx(len(VOCABULARY), rel=1e-6)


def test_an_impossible_word_has_no_perplexity() -> None:
    scores = np.zeros((1, len(VOCABULARY)), dtype=np.float32)
    scores[0, VOCABULARY.id_of("zoo")] = -np.inf
    (message,) = type_messages(["zoo"], VOCABULARY)
    assert pool([count_message(message, scores, INDEX)]).perplexity is None


def test_a_word_that_a_ruined_model_rules_out_has_no_perplexity() -> None:
    scores = np.zeros((1, len(VOCABULARY)), dtype=np.float32)
    scores[0, VOCABULARY.id_of("zoo")] = -1e6
    (message,) = type_messages(["zoo"], VOCABULARY)
    assert pool([count_message(message, scores, INDEX)]).perplexity is None


@given(st.dictionaries(st.sampled_from("abc"), st.lists(texts, max_size=4), min_size=1), st.integers(0, 99))
def test_users_are_counted_apart_and_add_up(by_user: dict[str, list[str]], seed: int) -> None:
    typed = {user: type_messages(messages, VOCABULARY) for user, messages in by_user.items()}
    flat = np.linspace(0, 1, len(VOCABULARY), dtype=np.float32)

    class Flat:
        def score(self, messages: Sequence[list[int]]) -> Iterator[FloatArray]:
            return (np.tile(flat, (len(message) - 1, 1)) for message in messages)

    counts = evaluate(Flat(), typed, INDEX)
    assert set(counts) == set(by_user)
    for user, messages in typed.items():
        alone = sum((slowly(m, np.tile(flat, (len(m.ids) - 1, 1))) for m in messages), start=UserCounts())
        assert counts[user].keystrokes_saved == alone.keystrokes_saved
        assert counts[user].num_targets == alone.num_targets
    assert sum(counts.values(), start=UserCounts()).num_targets == sum(c.num_targets for c in counts.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_predictor_must_give_numbers(bad: float) -> None:
    (message,) = type_messages(["zoo bee"], VOCABULARY)
    scores = np.zeros((2, len(VOCABULARY)), dtype=np.float32)
    scores[1, 5] = bad
    with pytest.raises(InvalidScores, match="no NaN"):
        count_message(message, scores, INDEX)


def test_a_predictor_must_answer_for_every_word() -> None:
    (message,) = type_messages(["zoo bee"], VOCABULARY)
    with pytest.raises(InvalidScores, match="must have shape"):
        count_message(message, np.zeros((1, len(VOCABULARY)), dtype=np.float32), INDEX)


def test_accuracy_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 target"):
        pool([UserCounts()])


def test_a_full_vocabulary_takes_seconds_not_minutes() -> None:
    """3,000 targets of 10,000 words: a tenth of what has to fit into 10 s, with room for a busy machine."""
    letters = "etaoinshrdlu"
    words = {a + b + c + d: 1.0 for a in letters for b in letters for c in letters for d in letters}
    vocabulary = Vocabulary(train_vocabulary(words, 10_000))
    index = SuggestionIndex(vocabulary)
    generator = np.random.default_rng(1)
    known = [vocabulary.words[i] for i in generator.choice(sorted(vocabulary.target_ids), 3_000)]
    typed = type_messages([" ".join(known[first : first + 10]) for first in range(0, 3_000, 10)], vocabulary)
    scores = generator.normal(size=(10, 10_000)).astype(np.float32)
    index.spans.sum()
    started = time.process_time()
    for message in typed:
        count_message(message, scores, index)
    assert time.process_time() - started < 3
