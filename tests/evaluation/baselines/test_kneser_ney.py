from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from reference_ngrams import SOME_WORDS, VOCABULARY_SIZE, WORDS, SlowKneserNey, make_text, texts, write_arpa

from evaluation.baselines.kneser_ney import NoWords, discount, estimate
from evaluation.baselines.ngram import NgramPredictor
from tokenizer.vocabulary import START_ID


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("targets", [WORDS, SOME_WORDS])
@pytest.mark.parametrize("num_messages", [3, 120])
def test_probabilities_are_those_of_the_formulas(order: int, targets: range, num_messages: int) -> None:
    slow = SlowKneserNey(make_text(num_messages, 1), targets, order)
    model = estimate(make_text(num_messages, 1), targets, VOCABULARY_SIZE, order).model
    asked = make_text(6, 2)
    for message, scores in zip(asked, NgramPredictor(model).score(asked), strict=True):
        for place, row in enumerate(scores):
            expected = [slow.probability(tuple(message[: place + 1]), word) for word in targets]
            np.testing.assert_allclose(np.exp(row[list(targets)]), expected, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(texts, texts)
def test_probabilities_of_words_sum_to_one(messages: list[list[int]], asked: list[list[int]]) -> None:
    model = estimate(messages, SOME_WORDS, VOCABULARY_SIZE, 4).model
    for scores in NgramPredictor(model).score(asked):
        shares = np.exp(scores.astype(np.float64))
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
        assert (shares[:, list(SOME_WORDS)] > 0).all()
        assert (np.delete(shares, list(SOME_WORDS), axis=1) == 0).all()


def test_kenlm_reads_the_same_off_the_arpa_file(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed: no second reader of our n-grams")
    model = estimate(make_text(300, 3), WORDS, VOCABULARY_SIZE, 5).model
    write_arpa(model, tmp_path / "model.arpa")
    reader = kenlm.Model(str(tmp_path / "model.arpa"))
    asked = make_text(40, 4)
    for message, scores in zip(asked, NgramPredictor(model).score(asked), strict=True):
        sentence = " ".join(f"w{token}" for token in message[1:])
        expected = [score for score, _, _ in reader.full_scores(sentence, bos=True, eos=False)]
        found = scores[np.arange(len(message) - 1), message[1:]] / np.log(10)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_discounts_fall_back_where_counts_of_counts_are_missing() -> None:
    np.testing.assert_array_equal(discount(np.array([1, 1, 2, 7])), [0, 0.5, 1, 1.5])
    once, twice, thrice, often = 40, 20, 10, 6
    y = once / (once + 2 * twice)
    counts = np.repeat([1, 2, 3, 4, 9], [once, twice, thrice, often, 5])
    expected = [0, 1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * often / thrice]
    np.testing.assert_allclose(discount(counts), expected)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(NoWords, match="at least 1 message with a word"):
        estimate([[START_ID], [START_ID, 0]], WORDS, VOCABULARY_SIZE, 3)


@pytest.mark.parametrize("order", [0, 9])
def test_order_out_of_bounds_is_refused(order: int) -> None:
    with pytest.raises(ValueError, match=rf"order must be in \[1, 8\], got {order}"):
        estimate(make_text(3, 1), WORDS, VOCABULARY_SIZE, order)
