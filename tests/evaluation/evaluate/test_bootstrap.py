"""Measures against `evaluation.metrics.pool`, intervals against draws that are made one user at a time."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.answers import MISSED, Answers
from evaluation.evaluate.bootstrap import MEASURES, SUMS, Bootstrap, measure_of, sum_by_user
from evaluation.metrics import UserCounts, pool


def drawn(words: int, users: int, seed: int) -> Answers:
    """Made-up answers."""
    generator = np.random.default_rng(seed)
    known = generator.random(words) < 0.9
    letters = generator.integers(1, 9, words)
    return Answers(
        user=generator.integers(0, users, words),
        message_words=np.full(words, 5),
        letters=letters,
        known=known,
        rank=np.where(known, generator.integers(0, 6, words), MISSED),
        typed=np.where(known, generator.integers(0, letters + 1), letters),
        log_likelihood=np.where(known, -generator.exponential(4, words), np.nan),
        confidence=generator.random(words),
    )


def counts_of(answers: Answers, user: int) -> UserCounts:
    """The sums of one user, word by word."""
    total = UserCounts()
    for place in np.flatnonzero(answers.user == user):
        total += UserCounts(
            num_targets=1,
            num_unknown=int(not answers.known[place]),
            top1_hits=int(answers.rank[place] == 0),
            top3_hits=int(answers.rank[place] < 3),
            keystrokes=int(answers.letters[place]) + 1,
            keystrokes_saved=int(answers.letters[place] - answers.typed[place]),
            log_likelihood=float(answers.log_likelihood[place]) if answers.known[place] else 0.0,
        )
    return total


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 2**32))
def test_measures_are_those_of_pooled_counts(words: int, users: int, seed: int) -> None:
    answers = drawn(words, users, seed)
    sums = sum_by_user(answers, users)
    pooled = pool(counts_of(answers, user) for user in range(users))
    for name in ("top1", "top3", "keystroke_savings", "perplexity"):
        expected = getattr(pooled, name)
        found = measure_of(sums.sum(axis=0), MEASURES[name])
        assert np.isnan(found) if expected is None else found == pytest.approx(expected)
    ranks = [rank for rank in answers.rank.tolist() if rank != MISSED]
    assert measure_of(sums.sum(axis=0), MEASURES["mrr"]) == pytest.approx(sum(1 / (1 + r) for r in ranks) / words)
    three = sum(1 / (1 + r) for r in ranks if r < 3) / words
    assert measure_of(sums.sum(axis=0), MEASURES["mrr3"]) == pytest.approx(three)


def test_what_is_left_out_does_not_count() -> None:
    answers = drawn(50, 3, seed=1)
    short = answers.letters < 4
    sums = sum_by_user(answers, 3, short)
    assert sums[:, SUMS.index("words")].sum() == short.sum()
    assert sums[:, SUMS.index("keystrokes")].sum() == (answers.letters[short] + 1).sum()


def test_intervals_are_those_of_users_drawn_one_by_one() -> None:
    answers, others, users = drawn(3_000, 25, seed=1), drawn(3_000, 25, seed=2), 25
    sums, theirs = sum_by_user(answers, users), sum_by_user(others, users)
    bootstrap = Bootstrap(users, draws=4_000, seed=3)
    generator = random.Random(5)
    top1, gaps = [], []
    for _ in range(4_000):
        picked = [generator.randrange(users) for _ in range(users)]
        mine, other = (sum(each[user] for user in picked) for each in (sums, theirs))
        top1.append(mine[SUMS.index("top1")] / mine[SUMS.index("words")])
        gaps.append(top1[-1] - other[SUMS.index("top1")] / other[SUMS.index("words")])
    interval = bootstrap.interval(sums, MEASURES["top1"])
    gap = bootstrap.difference(sums, theirs, MEASURES["top1"])
    assert interval is not None
    assert gap is not None
    assert (interval.low, interval.high) == pytest.approx(np.percentile(top1, (2.5, 97.5)), abs=0.002)
    assert (gap.low, gap.high) == pytest.approx(np.percentile(gaps, (2.5, 97.5)), abs=0.003)


def test_pairing_knows_that_a_constant_gain_is_no_chance() -> None:
    """Users differ much, and each gains alike: single intervals are wide, that of the ratio is a point."""
    words = np.full(10, 100.0)
    theirs = np.zeros((10, len(SUMS)))
    theirs[:, SUMS.index("words")], theirs[:, SUMS.index("top1")] = words, np.arange(10, 20)
    ours = theirs.copy()
    ours[:, SUMS.index("top1")] *= 1.1
    bootstrap = Bootstrap(10, draws=500, seed=1)
    ratio = bootstrap.ratio(ours, theirs, MEASURES["top1"])
    alone = bootstrap.interval(ours, MEASURES["top1"])
    assert ratio is not None
    assert alone is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert alone.high - alone.low > 0.01


def test_a_seed_gives_the_same_draws_and_another_one_others() -> None:
    sums = sum_by_user(drawn(500, 9, seed=1), 9)
    first, again, other = (Bootstrap(9, draws=200, seed=seed).interval(sums, MEASURES["top3"]) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_word_with_probability_zero_has_no_perplexity_and_warns_of_nothing() -> None:
    sums = sum_by_user(drawn(50, 4, seed=1), 4)
    sums[2, SUMS.index("surprise")] = np.inf
    bootstrap = Bootstrap(4, draws=50, seed=1)
    assert bootstrap.interval(sums, MEASURES["perplexity"]) is None
    assert bootstrap.interval(sums, MEASURES["top1"]) is not None


def test_users_who_are_drawn_without_words_say_nothing() -> None:
    sums = np.zeros((3, len(SUMS)))
    assert Bootstrap(3, draws=20, seed=1).interval(sums, MEASURES["top1"]) is None
    sums[0, SUMS.index("words")] = sums[0, SUMS.index("top1")] = 5
    found = Bootstrap(3, draws=20, seed=1).interval(sums, MEASURES["top1"])
    assert found is not None
    assert (found.low, found.value, found.high) == (1, 1, 1)
