"""Samples are exactly discrete Gaussian: each coin by enumeration and in lockstep with the paper, the whole by counts.

The bytes come from keystreams of fixed seeds, so that no test can fail by chance.
"""

import math
from fractions import Fraction
from itertools import count

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import discrete_gaussian as module
from protocol.discrete_gaussian import MAX_TERM, discrete_gaussian, sigma_at_least
from protocol.keystream import Keystream

SIGMAS = [
    Fraction(1, 1000),
    Fraction(1, 3),
    Fraction(1, 2),
    Fraction(1),
    Fraction(7, 3),
    sigma_at_least(10.3),
    Fraction(1 << 20),
    Fraction(MAX_TERM - 1),
]


def source(seed=0):
    return Keystream(seed.to_bytes(32, "big"), b"discrete gaussian tests").read


def drawn(sigma, size, seed=0):
    return discrete_gaussian(sigma, size, source(seed))


def exact_pmf(sigma, reach):
    values = np.arange(-reach, reach + 1)
    weights = np.exp(-(values**2) / (2 * float(sigma) ** 2))
    return values, weights / weights.sum()


def pooled(expected, least=20.0):
    """The group of each class, such that every group expects at least `least` samples."""
    groups, group, filled = [], 0, 0.0
    for part in expected:
        groups.append(group)
        filled += part
        if filled >= least:
            group, filled = group + 1, 0.0
    return np.minimum(groups, group - 1)


@pytest.mark.parametrize("sigma", [sigma for sigma in SIGMAS if Fraction(1, 10) < sigma < 1000], ids=float)
def test_counts_are_those_of_the_exact_distribution(sigma):
    samples = drawn(sigma, 150_000)
    values, pmf = exact_pmf(sigma, math.ceil(12 * sigma) + 8)
    observed = np.bincount(samples - values[0], minlength=values.size)
    groups = pooled(pmf * samples.size)
    counts, expected = (np.bincount(groups, weights) for weights in (observed, pmf * samples.size))
    assert scipy.stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("sigma", [Fraction(1 << 20), Fraction(MAX_TERM - 1)], ids=float)
def test_counts_of_a_large_sigma_are_those_of_the_normal_distribution(sigma):
    """From sigma = 2 on the chance of z <= x - 1/2, x whole, is Phi((x - 1/2) / sigma) but for 1 / (24 sigma^2)."""
    samples = drawn(sigma, 150_000)
    edges = np.round(scipy.stats.norm.ppf(np.arange(1, 200) / 200) * float(sigma)) - 0.5
    shares = np.diff(np.concatenate(([0.0], scipy.stats.norm.cdf(edges / float(sigma)), [1.0])))
    observed = np.bincount(np.searchsorted(edges, samples), minlength=200)
    assert scipy.stats.chisquare(observed, shares * samples.size).pvalue > 1e-4
    beyond = np.count_nonzero(np.abs(samples) > 4 * float(sigma))
    assert scipy.stats.binomtest(beyond, samples.size, 2 * scipy.stats.norm.sf(4)).pvalue > 1e-4
    low_bits = np.bincount(samples & 255, minlength=256)  # which the upper ones must not foretell
    assert scipy.stats.chisquare(low_bits).pvalue > 1e-4


@pytest.mark.parametrize("sigma", SIGMAS[4:], ids=float)
def test_mean_and_variance(sigma):
    samples = drawn(sigma, 150_000, seed=1) / float(sigma)
    assert abs(samples.mean()) < 4 / math.sqrt(samples.size)
    assert abs(samples.var() - 1) < 4 * math.sqrt(2 / samples.size)
    assert abs((samples[1:] * samples[:-1]).mean()) < 4 / math.sqrt(samples.size)


def test_a_tiny_sigma_gives_zeros():
    assert not drawn(Fraction(1, 1000), 10_000).any()


@pytest.mark.parametrize("size", [0, 1, 2, 1000, 65_537])
def test_the_same_bytes_give_the_same_samples_and_others_others(size):
    first, again, other = (drawn(Fraction(1 << 20), size, seed) for seed in (0, 0, 1))
    assert first.shape == (size,)
    assert first.dtype == np.int64
    np.testing.assert_array_equal(first, again)
    assert size == 0 or (first != other).mean() > 0.9


def test_never_asks_for_much_at_once():
    asked = []
    read = source()

    def recorded(size):
        asked.append(size)
        return read(size)

    discrete_gaussian(Fraction(10), 200_000, recorded)
    assert max(asked) <= 1 << 18


@pytest.mark.parametrize("fraction", [Fraction(1, 3), Fraction(0), Fraction(1), Fraction(2**61 - 3, 2**61 - 1)])
def test_a_coin_shows_heads_with_exactly_its_probability(fraction):
    """All 65,536 first draws, and for the one that they leave undecided, which of the second draws are heads."""
    every = np.arange(1 << 16, dtype="<u2").tobytes()
    numerators = np.full(1 << 16, fraction.numerator)
    thresholds = np.full(1 << 16, math.floor(fraction * 2**16))

    def heads(second):
        stream = iter([every, second.to_bytes(8, "little")])
        return int(module._bernoulli(thresholds, numerators, fraction.denominator, lambda _: next(stream)).sum())

    left = fraction * 2**16 % 1
    below, above = math.floor(left * 2**64) - 1, math.floor(left * 2**64) + 1
    assert heads(above) == math.floor(fraction * 2**16)
    if below >= 0:
        assert heads(below) == math.floor(fraction * 2**16) + 1


def test_a_coin_that_stays_undecided_goes_on_to_the_next_bits():
    third = int(Fraction(1, 3) * 2**64)
    for last, expected in ((third - 1, True), (third + 1, False)):
        stream = iter([third.to_bytes(8, "little")] * 3 + [last.to_bytes(8, "little")])
        assert module._settle(1, 3, lambda _, stream=stream: next(stream)) is expected


def literal_bernoulli(chance, read):
    """Whether a uniform real number, of which ever more bits are read, is below `chance`."""
    low, width = Fraction(0), Fraction(1)
    for size in (2, *(8 for _ in range(100))):
        if chance >= low + width or chance <= low:
            break
        width /= 256**size
        low += int.from_bytes(read(size), "little") * width
    return low < chance


def literal_bernoulli_exp(gamma, read):
    """Algorithm 1 of the paper, gamma in [0, 1]."""
    for toss in count(1):
        if not literal_bernoulli_reading(gamma / toss, read):
            return toss % 2 == 1
    raise AssertionError


def literal_bernoulli_reading(chance, read):
    """As `literal_bernoulli`, but the first two bytes are always read, as vectors do."""
    first = read(2)
    rest = iter((first,))
    return literal_bernoulli(chance, lambda size: next(rest, None) or read(size))


class Sticky:
    """Bytes that often equal the bits of a coin's probability, so that the rare path is taken often."""

    def __init__(self, gamma, seed):
        self._gamma, self._read, self._toss = gamma, source(seed), 0

    def __call__(self, size):
        octets = self._read(size)
        if size == 2:
            self._toss += 1
            if octets[0] % 2:
                return (math.floor(self._gamma / self._toss * 2**16) % 2**16).to_bytes(2, "little")
        return octets


@given(st.fractions(0, 1, max_denominator=2**61), st.integers(0, 2**32))
@settings(max_examples=100)
def test_a_vector_of_one_follows_the_paper_bit_for_bit(gamma, seed):
    threshold = np.array([math.floor(gamma * 2**16)])
    numerator = np.array([gamma.numerator])
    ours = module._bernoulli_exp(threshold, numerator, gamma.denominator, Sticky(gamma, seed))[0]
    assert ours == literal_bernoulli_exp(gamma, Sticky(gamma, seed))


@pytest.mark.parametrize("gamma", [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(1)])
def test_bernoulli_exp_has_its_probability(gamma):
    threshold = np.full(150_000, math.floor(gamma * 2**16))
    numerator = np.full(150_000, gamma.numerator)
    heads = int(module._bernoulli_exp(threshold, numerator, gamma.denominator, source()).sum())
    assert scipy.stats.binomtest(heads, 150_000, math.exp(-gamma)).pvalue > 1e-4


def test_the_geometric_part_has_its_distribution():
    counts = np.bincount(module._geometric(150_000, source()), minlength=30)
    expected = (1 - math.exp(-1)) * np.exp(-np.arange(10)) * 150_000
    assert scipy.stats.chisquare([*counts[:10], counts[10:].sum()], [*expected, 150_000 - expected.sum()]).pvalue > 1e-4


@given(st.integers(1, MAX_TERM), st.integers(-1, 1000), st.data())
@settings(max_examples=100)
def test_exponents_are_exact_and_do_not_overflow(divisor, quotient, data):
    rest = data.draw(st.integers(0, divisor - 1) | st.just(divisor - 1))
    exponent = (quotient + Fraction(rest, divisor)) ** 2 / 2
    whole, threshold, numerator = module._half_square(np.array([quotient]), np.array([rest]), divisor)
    assert whole[0] == math.floor(exponent)
    assert Fraction(int(numerator[0]), 2 * divisor**2) == exponent % 1
    assert threshold[0] == math.floor(exponent % 1 * 2**16)


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 1 << 29, MAX_TERM])
def test_uniform_integers_fill_their_range_evenly(bound):
    values = module._uniform_below(bound, 200_000, source())
    assert values.size > 90_000
    assert 0 <= values.min() <= values.max() < bound
    classes = min(bound, 16)
    assert classes == 1 or scipy.stats.chisquare(np.bincount(values * classes // bound)).pvalue > 1e-4


@given(st.floats(0, MAX_TERM, exclude_min=True))
def test_sigma_is_never_less_than_asked_for(deviation):
    sigma = sigma_at_least(deviation)
    assert Fraction(deviation) <= sigma <= max(Fraction(deviation) * (1 + Fraction(1, 2**29)), Fraction(1, 2))
    assert 0 < sigma.numerator <= MAX_TERM
    assert sigma.denominator <= MAX_TERM


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, MAX_TERM + 1.0])
def test_absurd_deviations_are_refused(wrong):
    with pytest.raises(ValueError, match="deviation must be > 0 and <= 1073741824, got"):
        sigma_at_least(wrong)


@pytest.mark.parametrize("wrong", [Fraction(0), Fraction(-1), Fraction(MAX_TERM + 1), Fraction(1, MAX_TERM + 1)])
def test_absurd_sigmas_are_refused(wrong):
    with pytest.raises(ValueError, match="sigma must be a positive fraction of integers up to"):
        drawn(wrong, 1)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="size must be >= 0, got -1"):
        drawn(Fraction(1), -1)
