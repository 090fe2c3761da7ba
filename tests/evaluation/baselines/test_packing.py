import numpy as np
import pytest
from hypothesis import given, settings
from reference_ngrams import SOME_WORDS, VOCABULARY_SIZE, make_text, texts

from evaluation.baselines.kneser_ney import estimate
from evaluation.baselines.ngram import NgramModel
from evaluation.baselines.packing import InvalidModel, pack, unpack
from evaluation.baselines.pruning import costs, prune

MODEL = estimate(make_text(80, 9), SOME_WORDS, VOCABULARY_SIZE, 4).model


def assert_same_ngrams(one: NgramModel, other: NgramModel) -> None:
    assert one.vocabulary_size == other.vocabulary_size
    for mine, theirs in zip(one.levels, other.levels, strict=True):
        for column in ("contexts", "first", "words"):
            np.testing.assert_array_equal(getattr(mine, column), getattr(theirs, column))


@settings(max_examples=15, deadline=None)
@given(texts)
def test_what_is_packed_comes_back_exactly(messages: list[list[int]]) -> None:
    whole = estimate(messages, SOME_WORDS, VOCABULARY_SIZE, 4)
    for model in (whole.model, prune(whole, float(np.median(np.concatenate(costs(whole)))))):
        again = unpack(pack(model))
        assert_same_ngrams(model, again)
        for mine, theirs in zip(model.levels, again.levels, strict=True):
            np.testing.assert_array_equal(mine.log_probabilities, theirs.log_probabilities)
            np.testing.assert_array_equal(mine.log_backoffs, theirs.log_backoffs)


def test_rounding_keeps_so_many_values_and_their_order() -> None:
    again = unpack(pack(MODEL, 8))
    assert_same_ngrams(MODEL, again)
    for mine, theirs in zip(MODEL.levels, again.levels, strict=True):
        order = np.argsort(mine.log_probabilities, kind="stable")
        assert len(np.unique(theirs.log_probabilities)) <= 8
        assert (np.diff(theirs.log_probabilities[order]) >= -1e-6).all()
        assert theirs.log_probabilities.mean() == pytest.approx(mine.log_probabilities.mean(), rel=1e-3)


def test_fewer_values_take_fewer_bytes() -> None:
    assert len(pack(MODEL, 4)) < len(pack(MODEL, 64)) < len(pack(MODEL))


@pytest.mark.parametrize("damage", [b"", b"no model", pack(MODEL)[:-40]])
def test_other_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(InvalidModel, match="must be a file written by"):
        unpack(damage)


@pytest.mark.parametrize("num_values", [0, 257])
def test_number_of_values_has_bounds(num_values: int) -> None:
    with pytest.raises(ValueError, match=rf"num_values must be in \[1, 256\], got {num_values}"):
        pack(MODEL, num_values)
