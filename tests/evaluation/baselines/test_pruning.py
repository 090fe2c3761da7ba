import math

import numpy as np
import pytest
from hypothesis import given, settings
from reference_ngrams import SOME_WORDS, VOCABULARY_SIZE, make_text, texts

from evaluation.baselines.kneser_ney import Estimate, estimate
from evaluation.baselines.ngram import NgramModel, NgramPredictor
from evaluation.baselines.packing import pack
from evaluation.baselines.pruning import costs, prune, prune_to_size

TEXT = make_text(400, 7)
WHOLE = estimate(TEXT, SOME_WORDS, VOCABULARY_SIZE, 4)


def entropy(model: NgramModel) -> float:
    """Nats a word of the text that the model was estimated from."""
    total, num_words = 0.0, 0
    for message, scores in zip(TEXT, NgramPredictor(model).score(TEXT), strict=True):
        rows = np.flatnonzero(np.isin(message[1:], SOME_WORDS))
        total -= float(scores[rows, np.array(message[1:])[rows]].sum(dtype=np.float64))
        num_words += len(rows)
    return total / num_words


@settings(max_examples=12, deadline=None)
@given(texts, texts)
def test_pruned_probabilities_sum_to_one(messages: list[list[int]], asked: list[list[int]]) -> None:
    whole = estimate(messages, SOME_WORDS, VOCABULARY_SIZE, 4)
    ranked = np.sort(np.concatenate(costs(whole)))
    for threshold in (0.0, np.inf, *ranked[:: max(1, len(ranked) // 3)]):
        for scores in NgramPredictor(prune(whole, threshold)).score(asked):
            np.testing.assert_allclose(np.exp(scores.astype(np.float64)).sum(axis=1), 1, rtol=1e-4)


def test_pruning_nothing_changes_nothing() -> None:
    before, after = (list(NgramPredictor(model).score(TEXT)) for model in (WHOLE.model, prune(WHOLE, -np.inf)))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_pruning_everything_leaves_single_words() -> None:
    model = prune(WHOLE, np.inf)
    assert len(model.levels) == 1
    np.testing.assert_array_equal(model.levels[0].log_probabilities, WHOLE.model.levels[0].log_probabilities)


def test_a_cost_is_the_relative_entropy_of_losing_that_one() -> None:
    """Of bigrams, in a bigram model: then no longer context hides what is lost."""
    whole = estimate(TEXT, SOME_WORDS, VOCABULARY_SIZE, 2)
    (cost,) = costs(whole)
    level, seen = whole.model.levels[1], whole.times_seen[1]
    shares = {int(token): count / seen.sum() for token, count in zip(level.contexts, seen, strict=True)}
    before = rows_by_context(whole.model, list(shares))
    for lost in range(0, len(cost), 5):
        only = [np.arange(len(cost)) == lost]
        after = rows_by_context(prune_these(whole, only), list(shares))
        expected = sum(share * relative_entropy(before[token], after[token]) for token, share in shares.items())
        assert cost[lost] == pytest.approx(expected, rel=1e-2, abs=1e-7)


def rows_by_context(model: NgramModel, tokens: list[int]) -> dict[int, np.ndarray]:
    scored = NgramPredictor(model).score([[token, 3] for token in tokens])
    return {token: np.exp(rows[0].astype(np.float64)) for token, rows in zip(tokens, scored, strict=True)}


def relative_entropy(before: np.ndarray, after: np.ndarray) -> float:
    present = before > 0
    return float((before[present] * np.log(before[present] / after[present])).sum())


def prune_these(whole: Estimate, lost: list[np.ndarray]) -> NgramModel:
    from evaluation.baselines.pruning import _keep

    return _keep(whole.model, [~one for one in lost])


def test_cheap_ones_go_first() -> None:
    by_cost = prune(whole := WHOLE, float(np.median(np.concatenate(costs(whole)))))
    generator = np.random.default_rng(8)
    by_lot = prune_these(whole, [generator.random(len(one)) < 0.5 for one in costs(whole)])
    assert entropy(whole.model) < entropy(by_cost) < entropy(by_lot)
    assert by_cost.num_entries == pytest.approx(by_lot.num_entries, rel=0.1)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_model_is_pruned_to_its_size_and_little_below(share: float) -> None:
    def size_of(model: NgramModel) -> int:
        return len(pack(model, 16))

    bound = math.floor(share * size_of(WHOLE.model))
    told: list[str] = []
    pruned = prune_to_size(WHOLE, size_of, bound, told.append)
    assert 0.85 * bound < size_of(pruned) <= bound
    assert told


def test_what_fits_is_kept_whole() -> None:
    size = WHOLE.model.num_entries
    assert prune_to_size(WHOLE, lambda model: model.num_entries, size).num_entries == size


def test_a_bound_that_not_even_words_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes must hold the single words, 10 bytes, got 9"):
        prune_to_size(WHOLE, lambda _: 10, 9)
