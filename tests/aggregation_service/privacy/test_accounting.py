import math

import pytest
import scipy.stats
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.accounting import most_participations, privacy_spent, spent_on_worst_device
from aggregation_service.privacy.ledger import (
    ClippingQuantileReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
)


def event(noise: float, participations: int) -> GaussianSumReleased:
    return GaussianSumReleased(
        round_id="0" * 32,
        model_version=0,
        num_reports=5,
        max_participations=participations,
        noise_multiplier=noise,
        l2_clip_norm=0.3,
    )


def delta_of(epsilon: float, sigma: float) -> float:
    """Balle and Wang 2018, theorem 8, straight from the paper: sensitivity 1."""
    cdf = scipy.stats.norm.cdf
    return float(cdf(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * cdf(-0.5 / sigma - epsilon * sigma))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("participations", [1, 3, 20])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_against_the_closed_form(sigma: float, participations: int, delta: float) -> None:
    spent = privacy_spent(sigma, participations, delta)
    assert delta_of(spent.epsilon, sigma / math.sqrt(participations)) == pytest.approx(delta, rel=1e-5)
    assert spent.rho == pytest.approx(participations / (2 * sigma**2))


def test_against_the_pld_accountant() -> None:
    accountant = PLDAccountant()
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(2.0), 6))
    assert privacy_spent(2.0, 6, 1e-6).epsilon == pytest.approx(accountant.get_epsilon(1e-6), rel=1e-3)


def test_the_published_figures_of_the_portuguese_keyboard() -> None:
    """Two participations at 8.35: rho 0.01434, epsilon 0.9936 at 1e-10."""
    spent = privacy_spent(8.35, 2, 1e-10)
    assert spent.rho == pytest.approx(0.01434, abs=5e-6)
    assert spent.epsilon == pytest.approx(0.9936, abs=5e-4)


@given(st.floats(1e-3, 1e3), st.integers(1, 1000), st.sampled_from([1e-10, 1e-6, 1e-2]))
def test_monotone(sigma: float, participations: int, delta: float) -> None:
    here = privacy_spent(sigma, participations, delta)
    assert math.isfinite(here.epsilon)
    assert privacy_spent(sigma * 1.1, participations, delta).epsilon <= here.epsilon
    assert privacy_spent(sigma, participations + 1, delta).epsilon >= here.epsilon
    assert privacy_spent(sigma, participations, delta * 2).epsilon <= here.epsilon


def test_tiny_noise_has_a_number_and_no_noise_has_none() -> None:
    assert 5000 < privacy_spent(0.01, 1, 1e-10).epsilon < 6000
    assert privacy_spent(0.0, 1, 1e-10)[::2] == (math.inf, math.inf)
    assert privacy_spent(0.0, 0, 1e-10)[::2] == (0.0, 0.0)


@pytest.mark.parametrize("noise", [9e-7, 1e-100, 1e-200, 5e-324])
def test_noise_too_small_for_float64_is_told_as_none_and_never_as_enough(noise: float) -> None:
    """Squares of such numbers are zero, which once made an epsilon of zero of them."""
    assert privacy_spent(noise, 1, 1e-10)[::2] == (math.inf, math.inf)
    assert spent_on_worst_device([event(noise, 1), event(2.0, 1)], 1e-10).epsilon == math.inf


def test_all_kinds_of_release_are_charged_together() -> None:
    values = {"round_id": "0" * 32, "model_version": 0, "num_reports": 5, "max_participations": 4, "l2_clip_norm": 0.5}
    extra = ClippingQuantileReleased(**values, noise_multiplier=2.0)  # type: ignore[arg-type]
    spent = spent_on_worst_device([event(4.0, 4), extra], 1e-6)
    assert spent.rho == pytest.approx(4 / 2 * (1 / 16 + 1 / 4))
    assert spent.epsilon == pytest.approx(privacy_spent((4 * (1 / 16 + 1 / 4)) ** -0.5, 1, 1e-6).epsilon)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1.0, 1, 0.1), "noise_multiplier"),
        ((math.nan, 1, 0.1), "noise_multiplier"),
        ((1.0, -1, 0.1), "participations"),
        ((1.0, 1, 0.0), "delta"),
        ((1.0, 1, 1.0), "delta"),
    ],
)
def test_absurd_parameters_are_refused(arguments: tuple[float, int, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* got"):
        privacy_spent(*arguments)


def test_the_worst_device_is_charged_at_the_least_noise() -> None:
    events = [event(2.0, 1), event(0.5, 2), event(3.0, 3)]
    assert spent_on_worst_device(events, 1e-6) == privacy_spent(0.5, 3, 1e-6)
    assert spent_on_worst_device([], 1e-6).epsilon == 0


Cohorts = st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=6)


@given(before=Cohorts, lost=Cohorts.filter(len), after=Cohorts)
def test_what_was_lost_with_a_backup_is_never_under_counted(
    before: list[set[int]], lost: list[set[int]], after: list[set[int]]
) -> None:
    """The books count what came before and after; the truth is all three."""
    events: list[LedgerEvent] = []
    counts = [0] * 6
    for number, cohort in enumerate([*before, None, *after]):
        if cohort is None:
            gone = ReleasesLost(num_releases=len(lost), after_round=number, noise_multiplier=1.0, l2_clip_norm=0.3)
            events.append(gone)
            continue
        for device in cohort:
            counts[device] += 1
        events.append(event(1.0, max(counts)))
    truth = max(sum(device in cohort for cohort in [*before, *lost, *after]) for device in range(6))
    assert truth <= most_participations(events) <= max(counts) + len(lost)
    assert spent_on_worst_device(events, 1e-6).epsilon >= privacy_spent(1.0, truth, 1e-6).epsilon
