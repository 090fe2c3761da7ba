import numpy as np
import pytest

from evaluation.audit.weighing import Habits, learn_habits, weigh
from evaluation.audit.words import Vector

WORDS, TYPED, UNIT = 300, 200, 0.02
SHARES = 1 / np.arange(5.0, 5 + WORDS)
SHARES /= SHARES.sum()
HABITS = Habits(words=TYPED, unit=UNIT)


def typed_by(seed: int, words: int = TYPED) -> Vector:
    return np.random.default_rng(seed).multinomial(words, SHARES).astype(np.float64)


def an_update(counts: Vector, seed: int, *, unit: float = UNIT, error: float = 0.0) -> Vector:
    """Biases as theory has them, for a model whose expectations are off by a tenth."""
    generator = np.random.default_rng(seed)
    expected = counts.sum() * SHARES * (1 + 0.1 * generator.normal(size=WORDS))
    moved: Vector = unit * (counts - expected) + error * generator.normal(size=WORDS)
    return moved


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_plain_update_tells_how_often_each_word_was_typed(seed: int, factor: float) -> None:
    """Whatever the device's own number of words and the scale that clipping left."""
    counts = typed_by(seed, int(TYPED * factor))
    belief = weigh(an_update(counts, seed, unit=UNIT / factor), 0.0, SHARES, HABITS)
    assert np.mean((belief.typed >= 0.5) == (counts > 0)) > 0.98
    assert np.minimum(np.rint(belief.times), counts).sum() > 0.9 * counts.sum()


def test_noise_that_hides_all_leaves_the_guess() -> None:
    counts = typed_by(1)
    belief = weigh(an_update(counts, 1, error=100.0), 100.0, SHARES, HABITS)
    np.testing.assert_allclose(belief.times, TYPED * SHARES, rtol=0.02)
    assert (np.diff(belief.typed) < 0.01).all(), "the more frequent the likelier"


def test_some_noise_leaves_more_than_the_guess() -> None:
    error, hits, guesses = UNIT, 0.0, 0.0
    for seed in range(10):
        typed = typed_by(seed) > 0
        named = weigh(an_update(typed_by(seed), seed, error=error), error, SHARES, HABITS).typed >= 0.5
        hits += np.mean(typed[named])
        guesses += np.mean(typed[: named.sum()])
    assert hits > 1.1 * guesses


def test_of_a_group_each_device_is_believed_to_have_typed_its_share() -> None:
    groups = [typed_by(seed) for seed in range(10)]
    together = np.sum([an_update(counts, seed) for seed, counts in enumerate(groups)], axis=0)
    belief = weigh(together, 0.0, SHARES, HABITS, members=10)
    assert belief.times.sum() == pytest.approx(TYPED, rel=0.1)
    shares_typed = np.mean([counts > 0 for counts in groups], axis=0)
    assert np.mean(np.abs(belief.typed - shares_typed)) < 0.1
    assert belief.typed.max() <= 1


def test_chances_are_chances_whatever_is_seen() -> None:
    for bias in (np.zeros(WORDS), np.full(WORDS, 5.0), np.full(WORDS, -5.0), np.full(WORDS, 1e-300)):
        belief = weigh(bias, 0.0, SHARES, HABITS)
        assert ((belief.typed >= 0) & (belief.typed <= 1)).all()
        assert np.isfinite(belief.times).all()


def test_habits_are_averages() -> None:
    counts = [typed_by(seed, words) for seed, words in ((1, 100), (2, 300))]
    biases = [an_update(each, seed) for seed, each in enumerate(counts)]
    assert learn_habits(biases, counts, SHARES) == pytest.approx((200, UNIT), rel=0.05)


def test_devices_that_learnt_nothing_have_a_unit_still() -> None:
    nothing = np.zeros(WORDS)
    assert learn_habits([nothing], [typed_by(1)], SHARES).unit > 0
