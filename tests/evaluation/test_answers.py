import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.answers import MISSED, NUM_SUGGESTIONS, Answers, InvalidScores, read_scores
from evaluation.targets import SuggestionIndex, type_messages
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL, Vocabulary

WORDS = ["a", "an", "and", "ant", "ante", "be", "bee", "been", "beep", "zoo"]
VOCABULARY = Vocabulary(
    train_vocabulary({word: 1 / (1 + n) for n, word in enumerate(WORDS)}, NUM_SPECIAL + len(PUNCTUATION) + len(WORDS))
)
INDEX = SuggestionIndex(VOCABULARY)
texts = st.lists(st.sampled_from([*WORDS, "xylophone", ".", "An"]), min_size=1, max_size=7).map(" ".join)


@given(texts, st.integers(0, 2**32))
def test_answers_are_those_of_somebody_who_sorts(text: str, seed: int) -> None:
    for message in type_messages([text], VOCABULARY):
        scores = np.random.default_rng(seed).integers(0, 4, (len(message.ids) - 1, len(VOCABULARY))).astype(np.float32)
        answers = read_scores(message, scores, INDEX, user=7)
        rows = [row for row, letters in enumerate(message.word_chars[1:]) if letters]
        assert len(answers) == len(rows)
        assert set(answers.user.tolist()) <= {7}
        for place, row in enumerate(rows):
            target, word = message.ids[1 + row], VOCABULARY.words[message.ids[1 + row]]
            odds = np.exp(scores[row].astype(np.float64))
            ranked = sorted(VOCABULARY.target_ids, key=lambda index: (-scores[row][index], index))
            assert answers.confidence[place] == pytest.approx(odds[ranked[0]] / odds.sum(), rel=1e-5)
            if not answers.known[place]:
                assert (answers.rank[place], answers.typed[place]) == (MISSED, answers.letters[place])
                assert np.isnan(answers.log_likelihood[place])
                continue
            assert answers.rank[place] == ranked.index(target)
            assert answers.log_likelihood[place] == pytest.approx(np.log(odds[target] / odds.sum()), rel=1e-4, abs=1e-5)
            shown = [
                target in [i for i in ranked if VOCABULARY.words[i].startswith(word[:n])][:NUM_SUGGESTIONS]
                for n in range(len(word))
            ]
            assert answers.typed[place] == (shown.index(True) if any(shown) else len(word))


def test_answers_are_joined_in_order_and_none_are_none() -> None:
    parts = []
    for user, text in enumerate(("bee zoo", "xylophone")):
        (message,) = type_messages([text], VOCABULARY)
        parts.append(
            read_scores(message, np.zeros((len(message.ids) - 1, len(VOCABULARY)), np.float32), INDEX, user=user)
        )
    joined = Answers.join(parts)
    assert joined.user.tolist() == [0, 0, 1]
    assert joined.known.tolist() == [True, True, False]
    assert joined.message_words.tolist() == [2, 2, 1]
    assert joined.letters.tolist() == [3, 3, 9]
    assert len(Answers.join([])) == 0


def test_scores_for_an_unknown_word_must_be_numbers_too() -> None:
    (message,) = type_messages(["xylophone"], VOCABULARY)
    with pytest.raises(InvalidScores, match="no NaN"):
        read_scores(message, np.full((1, len(VOCABULARY)), np.nan, np.float32), INDEX)
