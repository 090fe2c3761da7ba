import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.rounds.pace import (
    CALLERS_PER_PLACE,
    LONGEST_S,
    after_separation_s,
    reconnect_after_s,
    until_round_s,
)
from aggregation_service.rounds.parameters import RoundParameters

jitters = st.floats(0, 1, exclude_max=True)


@given(
    st.floats(0, 4e9),
    st.floats(1, 7 * 24 * 3600),
    st.integers(1, 10_000),
    st.integers(0, 10_000_000),
    st.tuples(jitters, jitters),
)
def test_bounds(now: float, beat_s: float, cohort: int, population: int, pair: tuple[float, float]) -> None:
    low, high = sorted(pair)
    waits = [
        reconnect_after_s(now=now, beat_s=beat_s, cohort_size=cohort, population_size=population, jitter=jitter)
        for jitter in (low, high)
    ]
    assert 0 < waits[0] <= waits[1] <= max(LONGEST_S, 1.11 * beat_s)


def test_a_small_population_gathers() -> None:
    """Devices that were turned away at any time of one beat come back within a tenth of the next."""
    generator = np.random.default_rng(0)
    back_at = [
        now + reconnect_after_s(now=now, beat_s=600, cohort_size=26, population_size=120, jitter=generator.random())
        for now in generator.uniform(6000, 6600, 200)
    ]
    assert min(back_at) >= 6600
    assert max(back_at) <= 6600 + 0.102 * 600


def test_a_large_population_is_spread() -> None:
    """In the long run about three devices call for each place, and none of the beats has a crowd."""
    generator = np.random.default_rng(0)
    calls: list[float] = []
    for start in generator.uniform(0, 600, 2000):
        now = float(start)
        while now < 30_000:
            calls.append(now)
            jitter = generator.random()
            now += reconnect_after_s(now=now, beat_s=600, cohort_size=26, population_size=2000, jitter=jitter)
    by_beat, _ = np.histogram(calls, bins=np.arange(21_000, 30_000, 600))
    assert abs(by_beat.mean() / (CALLERS_PER_PLACE * 26) - 1) < 0.15
    assert by_beat.max() < 2 * CALLERS_PER_PLACE * 26


@given(st.floats(-1e6, 1e6), jitters)
def test_separation_is_waited_out(remaining_s: float, jitter: float) -> None:
    assert after_separation_s(remaining_s=remaining_s, beat_s=600, jitter=jitter) >= max(remaining_s, 0)


@given(st.floats(1, 604800), st.floats(0, 1, exclude_max=True))
def test_who_waits_for_a_round_to_be_made_waits_a_second_or_a_hundredth_of_a_beat(beat_s: float, jitter: float) -> None:
    assert 1 <= until_round_s(beat_s=beat_s, jitter=jitter) <= 0.5 + 1.5 * max(1.0, beat_s / 100)


@given(opened_at=st.floats(0, 2e9), told_after=st.floats(0, 1), jitter=jitters)
def test_who_gathers_meets_a_straggler_round(opened_at: float, told_after: float, jitter: float) -> None:
    """Everybody who was told to come back before the round was opened calls at last while it still selects."""
    parameters = RoundParameters(minimum_reports=1)
    told_at = opened_at - told_after * parameters.beat_s
    wait_s = reconnect_after_s(now=told_at, beat_s=parameters.beat_s, cohort_size=10, population_size=50, jitter=jitter)
    assert told_at + wait_s <= opened_at + parameters.selection_timeout_s
