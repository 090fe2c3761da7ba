"""Pruning by relative entropy: the n-grams go whose loss changes the model least.

| here          | Stolcke 1998       |
|---------------|--------------------|
| `listed`      | p(w given h)       |
| `backed_off`  | p(w given h')      |
| `spare`       | 1 - sum of p(w given h), the numerator of alpha(h) |
| `cost`        | D(p, p')           |

Source: Stolcke 1998, "Entropy-based Pruning of Backoff Language Models", arXiv cs/0006025, section 3.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evaluation.baselines.kneser_ney import Estimate
from evaluation.baselines.ngram import Level, NgramModel, Probabilities

_LEAST = 1e-12
"""Rounding may leave nothing, or less, where a context lists nearly every word."""
_MAX_ATTEMPTS = 10
_NEAR, _AIM = 0.995, 0.998
"""Shares of the bound: what is near enough, and what the next attempt aims at."""


def costs(estimate: Estimate) -> tuple[Probabilities, ...]:
    """What losing each n-gram alone would cost, its context's back-off adapted.

    Contexts weigh as often as they were seen. (Stolcke takes the model's own P(h), which Kneser-Ney's lower orders
    distort: Chelba et al. 2010, "Study on Interaction between Entropy Pruning and Kneser-Ney Smoothing".)

    Returns:
      For each level above the first, float64 [entries], in nats a word, never below 0 but for rounding.

    """
    model, seen = estimate
    words_seen = int(seen[0][0])
    return tuple(_costs(model, order, times_seen / words_seen) for order, times_seen in enumerate(seen[1:], start=2))


def _costs(model: NgramModel, order: int, context_shares: Probabilities) -> Probabilities:
    level = model.levels[order - 1]
    log_listed = level.log_probabilities.astype(np.float64)
    log_backed_off = _backed_off(model, level, order)
    listed, backed_off = np.exp(log_listed), np.exp(log_backed_off)
    spare, spare_below = _spare(level, listed)[level.owners], _spare(level, backed_off)[level.owners]
    log_backoff = np.log(spare / spare_below)
    log_adapted = np.log((spare + listed) / (spare_below + backed_off))
    change = listed * (log_backed_off + log_adapted - log_listed) + (log_adapted - log_backoff) * spare
    cost: Probabilities = -context_shares[level.owners] * change
    return cost


def _backed_off(model: NgramModel, level: Level, order: int) -> Probabilities:
    """The log-probability that each entry of `level` would have, were it not listed, before its back-off."""
    lower = level.contexts[level.owners] // model.vocabulary_size
    return model.log_probability(order - 1, lower, level.words)


def _spare(level: Level, probabilities: Probabilities) -> Probabilities:
    """What `probabilities` of the entries leave to all other words, by context."""
    listed = np.bincount(level.owners, weights=probabilities, minlength=len(level.contexts))
    return np.maximum(1 - listed, _LEAST)


def prune(estimate: Estimate, threshold: float) -> NgramModel:
    """Drops the n-grams, longer than single words, that cost at most `threshold`, and adapts all back-offs.

    Args:
      estimate: a model and what its contexts weigh.
      threshold: nats a word.

    Guarantees:
      Behind any context the probabilities still sum to 1. A kept n-gram keeps its probability.

    """
    return _keep(estimate.model, [cost > threshold for cost in costs(estimate)])


def prune_to_size(
    estimate: Estimate,
    size_of: Callable[[NgramModel], int],
    max_bytes: int,
    on_progress: Callable[[str], None] = lambda _: None,
) -> NgramModel:
    """Prunes as little as makes the model fit.

    Args:
      estimate: a model and what its contexts weigh.
      size_of: bytes that a model takes when written.
      max_bytes: the bound.
      on_progress: told of each attempt.

    Guarantees:
      size_of(result) <= max_bytes.

    Raises:
      ValueError: the single words alone take more than `max_bytes`.

    """
    cost = costs(estimate)
    falling = np.sort(np.concatenate(cost))[::-1]
    best, fits, too_many = _keep(estimate.model, [one > np.inf for one in cost]), 0, len(falling) + 1
    words_bytes = size_of(best)
    if words_bytes > max_bytes:
        raise ValueError(f"max_bytes must hold the single words, {words_bytes} bytes, got {max_bytes}")
    guess = max_bytes  # a byte an n-gram; then as many as the last attempt's bytes say
    for _ in range(_MAX_ATTEMPTS):
        guess = min(max(guess, fits + 1), too_many - 1)
        if guess <= fits:
            break
        threshold = falling[guess] if guess < len(falling) else -np.inf
        pruned = _keep(estimate.model, [one > threshold for one in cost])
        size = size_of(pruned)
        on_progress(f"{pruned.num_entries} n-grams take {size} of {max_bytes} bytes")
        if size > max_bytes:
            too_many = guess
        else:
            best, fits = pruned, guess
            if size >= _NEAR * max_bytes:
                break
        guess = int(guess * (_AIM * max_bytes - words_bytes) / max(1, size - words_bytes))
    return best


def _keep(model: NgramModel, kept: list[npt.NDArray[np.bool_]]) -> NgramModel:
    """The model with only the `kept` entries of each level above the first, and the contexts that these need."""
    needed = _needed_contexts(model, kept)
    pruned = NgramModel(model.vocabulary_size, model.levels[:1])
    renamed = np.zeros(1, np.int64)
    for order, (level, entries, contexts) in enumerate(zip(model.levels[1:], kept, needed, strict=True), start=2):
        if not contexts.any():
            break
        lower, tokens = np.divmod(level.contexts[contexts], model.vocabulary_size)
        owners = (np.cumsum(contexts) - 1)[level.owners[entries]]
        smaller = replace(
            level,
            contexts=renamed[lower] * model.vocabulary_size + tokens,
            log_backoffs=level.log_backoffs[contexts],
            first=np.searchsorted(owners, np.arange(contexts.sum() + 1)),
            words=level.words[entries],
            log_probabilities=level.log_probabilities[entries],
        )
        pruned = NgramModel(model.vocabulary_size, (*pruned.levels, _adapt(pruned, smaller, order)))
        renamed = np.cumsum(contexts) - 1
    return pruned


def _needed_contexts(model: NgramModel, kept: list[npt.NDArray[np.bool_]]) -> list[npt.NDArray[np.bool_]]:
    """Contexts that keep an entry, or that a longer needed context ends in."""
    needed: list[npt.NDArray[np.bool_]] = []
    for level, entries in zip(model.levels[:0:-1], kept[::-1], strict=True):
        contexts = np.zeros(len(level.contexts), np.bool_)
        contexts[level.owners[entries]] = True
        if needed:
            longer = model.levels[len(model.levels) - len(needed)]
            contexts[longer.contexts[needed[0]] // model.vocabulary_size] = True
        needed.insert(0, contexts)
    return needed


def _adapt(lower: NgramModel, level: Level, order: int) -> Level:
    """Makes each context hand to the shorter n-grams exactly what its own entries leave.

    Source: Stolcke 1998, equation 4.
    """
    spare = _spare(level, np.exp(level.log_probabilities.astype(np.float64)))
    spare_below = _spare(level, np.exp(_backed_off(lower, level, order)))
    return replace(level, log_backoffs=np.log(spare / spare_below).astype(np.float32))
