import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.accountants import (
    LEAST_PLD_MULTIPLIER,
    account,
    noise_multiplier_for,
    pld_epsilon,
    rdp_epsilon,
    zcdp_epsilon,
)
from aggregation_service.privacy.accounting import privacy_spent, spent_on_charges
from aggregation_service.privacy.charges import Charge
from aggregation_service.privacy.ledger import CorrelatedSumReleased, GaussianSumReleased, LedgerEvent
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz, Independent, Mechanism
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity

ROUNDS, SEPARATION, PARTICIPATIONS = 2052, 342, 6


def stream(mechanism: Mechanism, noise: float) -> list[LedgerEvent]:
    """The 2,052 rounds of the published figures, as a ledger holds them."""
    return [
        CorrelatedSumReleased(
            round_id=f"{step:032x}",
            task_id=1,
            model_version=step,
            step=step,
            mechanism=mechanism,
            num_reports=6500,
            max_participations=1 + step // SEPARATION,
            stream_participations=1 + step // SEPARATION,
            min_separation=1 if step < SEPARATION else SEPARATION,
            noise_multiplier=noise,
            l2_clip_norm=1.0,
        )
        for step in range(ROUNDS)
    ]


@pytest.mark.parametrize(("noise", "epsilon"), [(2.2305, 2.0), (0.6529, 8.0)])
@pytest.mark.parametrize("mechanism", [Independent(), BufferedToeplitz(decays=(0.99, 0.8), scales=(0.1, 0.4))])
def test_the_published_noise_of_2052_rounds(mechanism: Mechanism, noise: float, epsilon: float) -> None:
    """McMahan, Xu and Zhang 2024, arXiv 2408.08868: δ = 1e-6, noise relative to the stream's sensitivity."""
    moved = sensitivity(mechanism, rounds=ROUNDS, min_separation=SEPARATION, max_participations=PARTICIPATIONS)
    accounts = account(stream(mechanism, noise * moved), 1e-6)
    assert accounts.spent.epsilon == pytest.approx(epsilon, abs=1e-3)
    assert accounts.pld_epsilon == pytest.approx(epsilon, abs=1e-3)
    assert noise_multiplier_for(epsilon, 1e-6) == pytest.approx(noise, abs=5e-5)


def test_the_published_figures_of_production_keyboards() -> None:
    """Two participations at 8.35 (the pt-BR model): ρ 0.01434, ε 0.9936 at 1e-10; and ρ 0.1507 is ε 3.42."""
    events = [
        GaussianSumReleased(
            round_id=f"{number:032x}",
            model_version=number,
            num_reports=6500,
            max_participations=number + 1,
            noise_multiplier=8.35,
            l2_clip_norm=1.0,
        )
        for number in range(2)
    ]
    accounts = account(events, 1e-10)
    assert accounts.spent.rho == pytest.approx(0.01434, abs=5e-6)
    assert accounts.spent.epsilon == pytest.approx(0.9936, abs=1e-4)
    assert accounts.pld_epsilon == pytest.approx(0.9936, abs=1e-4)
    of_rho = Charge(1 / math.sqrt(2 * 0.1507), 1)
    assert spent_on_charges([of_rho], 1e-10).epsilon == pytest.approx(3.42, abs=5e-3)
    assert pld_epsilon([of_rho], 1e-10) == pytest.approx(3.42, abs=5e-3)


Charges = st.lists(st.builds(Charge, st.floats(0.5, 30), st.integers(0, 9)), max_size=3)


@given(Charges, st.sampled_from([1e-10, 1e-6, 1e-2]))
def test_the_other_accountants_bound_the_exact_one(charged: list[Charge], delta: float) -> None:
    exact = spent_on_charges(charged, delta)
    rdp = rdp_epsilon(charged, delta)
    assert exact.epsilon <= rdp <= zcdp_epsilon(exact.rho, delta) * (1 + 1e-3)


@pytest.mark.parametrize(
    "charged",
    [
        [Charge(30.0, 2), Charge(3.0, 1), Charge(8.0, 5)],
        [Charge(LEAST_PLD_MULTIPLIER, 1)],
    ],
)
def test_pld_agrees_with_the_exact_one(charged: list[Charge]) -> None:
    exact = spent_on_charges(charged, 1e-8).epsilon
    found = pld_epsilon(charged, 1e-8)
    assert found is not None
    assert exact - 1e-7 <= found <= exact + 1e-4 * sum(each.times for each in charged)


def test_rdp_finds_the_best_order() -> None:
    """Canonne, Kamath and Steinke 2020, proposition 12, at its least over all orders."""
    multiplier, delta = 2.0, 1e-6

    order = np.geomspace(1.01, 200, 100_000)
    best = np.min(order / (2 * multiplier**2) + np.log1p(-1 / order) - np.log(delta * order) / (order - 1))
    assert best <= rdp_epsilon([Charge(multiplier, 1)], delta) <= best * (1 + 1e-4)


def test_nothing_released_costs_nothing_and_no_noise_everything() -> None:
    nothing = account([], 1e-6)
    assert (nothing.spent.epsilon, nothing.pld_epsilon, nothing.rdp_epsilon, nothing.zcdp_epsilon) == (0, 0, 0, 0)
    (first, *_) = stream(Independent(), 0.0)
    accounts = account([first], 1e-6)
    assert (accounts.spent.epsilon, accounts.rdp_epsilon, accounts.zcdp_epsilon) == (math.inf, math.inf, math.inf)
    assert accounts.pld_epsilon is None


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 30.0])
def test_planned_noise_costs_what_was_planned(epsilon: float) -> None:
    assert privacy_spent(noise_multiplier_for(epsilon, 1e-10), 1, 1e-10).epsilon == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_absurd_epsilons_are_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon must be .* got"):
        noise_multiplier_for(epsilon, 1e-6)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_absurd_deltas_are_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=r"delta must be .* got"):
        noise_multiplier_for(1.0, delta)
    with pytest.raises(ValueError, match=r"delta must be .* got"):
        zcdp_epsilon(1.0, delta)
    with pytest.raises(ValueError, match=r"delta must be .* got"):
        account([], delta)


@pytest.mark.parametrize("rho", [-1.0, math.nan])
def test_absurd_rhos_are_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="rho must be >= 0, got"):
        zcdp_epsilon(rho, 1e-6)
