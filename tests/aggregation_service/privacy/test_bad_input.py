"""Negative, zero, infinite, NaN and absurd numbers, for every parameter that privacy rests on: refused, by name.

Events are in `test_ledger`, states in `mechanisms/test_streams` and `test_adaptive_clipping`, plans in
`tests/protocol/test_plan.py`, command lines in `commands/test_bad_numbers.py`.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.privacy.accountants import noise_multiplier_for, pld_epsilon, rdp_epsilon, zcdp_epsilon
from aggregation_service.privacy.accounting import privacy_spent, spent_on_charges, spent_on_worst_device
from aggregation_service.privacy.charges import Charge
from aggregation_service.privacy.distributed import SumOfShares, spent_on_sums
from aggregation_service.privacy.grid_noise import finest_grid, one_report_bound, stream_bound
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.privacy.mechanisms.optimise import optimised_banded, optimised_buffered, optimised_tree
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, BufferedToeplitz, Tree
from aggregation_service.privacy.mechanisms.rounding import rounding_steps
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.mechanisms.streams import NoiseStream
from aggregation_service.privacy.planning import Deployment
from aggregation_service.privacy.statement import Circumstances, make_statement
from protocol.clipping import clip_to_norm
from protocol.clipping_bit import coordinate_per_device, joint_norm, update_noise_multiplier
from protocol.discrete_gaussian import discrete_gaussian, sigma_at_least
from protocol.distributed_noise import NoiseTarget, honest_survivors, least_honest_survivors, share_sigma
from protocol.quantisation import Quantiser

NO_NUMBERS = (math.nan, math.inf, -math.inf, -1.0)
NOT_POSITIVE = (*NO_NUMBERS, 0.0)
NO_SHARES = (*NOT_POSITIVE, 1.0, 1e308)
NO_COUNTS = (-1, 0)
HUGE = 10**30
GRID = finest_grid(1.0)
PATTERN = {"rounds": 10, "min_separation": 2, "max_participations": 3}
NO_PATTERN = {"rounds": (*NO_COUNTS, HUGE), "min_separation": NO_COUNTS, "max_participations": NO_COUNTS}

Function = Callable[..., object]


def charge(of: Function) -> Function:
    return lambda noise_multiplier, participations, delta: of([Charge(noise_multiplier, participations)], delta)


def clip(l2_clip_norm: float) -> object:
    return clip_to_norm(np.ones(4, np.float32), l2_clip_norm)


def draw(sigma: int, size: int) -> object:
    return discrete_gaussian(Fraction(sigma), size, bytes)


SPENT = {"noise_multiplier": 1.0, "participations": 2, "delta": 1e-6}
NOT_SPENT = {"noise_multiplier": NO_NUMBERS, "participations": (-1,), "delta": NO_SHARES}
REFUSED: dict[str, tuple[Function, dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "privacy_spent": (privacy_spent, SPENT, NOT_SPENT),
    "spent_on_charges": (charge(spent_on_charges), SPENT, NOT_SPENT),
    "pld_epsilon": (charge(pld_epsilon), SPENT, NOT_SPENT),
    "rdp_epsilon": (charge(rdp_epsilon), SPENT, NOT_SPENT),
    "zcdp_epsilon": (zcdp_epsilon, {"rho": 1.0, "delta": 1e-6}, {"rho": (math.nan, -1.0), "delta": NO_SHARES}),
    "noise_multiplier_for": (
        noise_multiplier_for,
        {"epsilon": 1.0, "delta": 1e-6},
        {"epsilon": (*NOT_POSITIVE, 1e308), "delta": NO_SHARES},
    ),
    "spent_on_worst_device": (spent_on_worst_device, {"events": (), "delta": 1e-6}, {"delta": NO_SHARES}),
    "finest_grid": (finest_grid, {"noise_deviation": 1.0}, {"noise_deviation": (*NOT_POSITIVE, 1e-320, 1e308)}),
    "one_report_bound": (
        one_report_bound,
        {"grid": GRID, "l2_clip_norm": 1.0, "size": 10, "max_reports": 5},
        {"l2_clip_norm": NOT_POSITIVE, "size": (*NO_COUNTS, HUGE), "max_reports": (*NO_COUNTS, HUGE)},
    ),
    "stream_bound": (
        stream_bound,
        {"grid": GRID, "sensitivity": 1.0, "one_report": 1.0, "size": 10, "rounds": 5, "rounding_steps": 1.0},
        {
            "sensitivity": NOT_POSITIVE,
            "one_report": NO_NUMBERS,
            "rounding_steps": NO_NUMBERS,
            "size": (*NO_COUNTS, HUGE),
            "rounds": (*NO_COUNTS, HUGE),
        },
    ),
    "update_noise_multiplier": (
        update_noise_multiplier,
        {"noise_multiplier": 1.0, "count_noise": 10.0},
        {"noise_multiplier": NOT_POSITIVE, "count_noise": (*NOT_POSITIVE, 1e308)},
    ),
    **{
        function.__name__: (
            function,
            {"l2_clip_norm": 1.0, "noise_multiplier": 1.0, "count_noise": 10.0},
            {"l2_clip_norm": NOT_POSITIVE, "noise_multiplier": NOT_POSITIVE, "count_noise": NOT_POSITIVE},
        )
        for function in (joint_norm, coordinate_per_device)
    },
    "SumOfShares": (
        SumOfShares,
        {"sigma": Fraction(3), "num_shares": 5, "squared_bound": 10, "vector_length": 10},
        {
            "sigma": (Fraction(-1), Fraction(0), Fraction(1, 3)),
            "num_shares": (*NO_COUNTS, HUGE),
            "squared_bound": NO_COUNTS,
            "vector_length": NO_COUNTS,
        },
    ),
    "spent_on_sums": (
        spent_on_sums,
        {
            "released": SumOfShares(sigma=Fraction(3), num_shares=5, squared_bound=10, vector_length=10),
            "participations": 1,
            "delta": 1e-6,
        },
        {"participations": (-1,), "delta": NO_SHARES},
    ),
    "sensitivity": (sensitivity, {"parameters": Tree(4), **PATTERN}, NO_PATTERN),
    "optimised_banded": (
        optimised_banded,
        {"bands": 4, **PATTERN},
        {**NO_PATTERN, "bands": (*NO_COUNTS, HUGE)},
    ),
    "optimised_buffered": (
        optimised_buffered,
        {"buffers": 1, **PATTERN},
        {**NO_PATTERN, "buffers": (*NO_COUNTS, HUGE)},
    ),
    "optimised_tree": (optimised_tree, PATTERN, NO_PATTERN),
    "rounding_steps": (
        rounding_steps,
        {"parameters": BandedToeplitz((1.0, 0.5)), "rounds": 5},
        {"rounds": (*NO_COUNTS, HUGE)},
    ),
    "NoiseStream": (NoiseStream, {"parameters": Tree(4), "size": 3, "context": "task 1"}, {"size": NO_COUNTS}),
    "Tree": (Tree, {"restart_every": 4}, {"restart_every": (*NO_COUNTS, 3, HUGE)}),
    "Deployment": (
        Deployment,
        {"devices": 100, "cohort": 10, "rounds": 20, "separation_rounds": 5, "epsilon": 1.0, "delta": 1e-6},
        {
            "devices": NO_COUNTS,
            "cohort": (*NO_COUNTS, 101),
            "rounds": (*NO_COUNTS, HUGE),
            "separation_rounds": (*NO_COUNTS, 11),
            "participation_limit": (-1,),
            "epsilon": (*NOT_POSITIVE, 1e308),
            "delta": NO_SHARES,
            "l2_clip_norm": NOT_POSITIVE,
            "num_weights": NO_COUNTS,
        },
    ),
    "clip_to_norm": (clip, {"l2_clip_norm": 1.0}, {"l2_clip_norm": NOT_POSITIVE}),
    "Quantiser": (
        Quantiser,
        {"l2_clip_norm": 1.0, "value_bits": 16, "max_cohort": 10, "vector_length": 10},
        {
            "l2_clip_norm": (*NOT_POSITIVE, 1e-320),
            "value_bits": (*NO_COUNTS, HUGE),
            "max_cohort": NO_COUNTS,
            "vector_length": NO_COUNTS,
            "noise_room": (-1,),
        },
    ),
    "sigma_at_least": (sigma_at_least, {"deviation": 1.0}, {"deviation": (*NOT_POSITIVE, 1e308)}),
    "discrete_gaussian": (draw, {"sigma": 3, "size": 0}, {"sigma": (*NO_COUNTS, HUGE), "size": (-1,)}),
    "share_sigma": (
        share_sigma,
        {"noise_deviation": 10.0, "num_honest": 5},
        {"noise_deviation": (*NOT_POSITIVE, 1e308), "num_honest": NO_COUNTS},
    ),
    "honest_survivors": (
        honest_survivors,
        {"num_members": 20, "adversary_fraction": 0.1, "dropout_fraction": 0.1},
        {"num_members": NO_COUNTS, "adversary_fraction": (*NO_NUMBERS, 1.0), "dropout_fraction": (*NO_NUMBERS, 1.0)},
    ),
    "least_honest_survivors": (
        least_honest_survivors,
        {"min_members": 20, "max_members": 30, "adversary_fraction": 0.1, "dropout_fraction": 0.1},
        {
            "min_members": (*NO_COUNTS, 31),
            "max_members": (*NO_COUNTS, 19),
            "adversary_fraction": (*NO_NUMBERS, 1.0),
            "dropout_fraction": (*NO_NUMBERS, 1.0),
        },
    ),
    "NoiseTarget": (
        NoiseTarget,
        {"noise_multiplier": 1.0, "max_cohort": 10, "num_honest": 8, "vector_length": 10},
        {
            "noise_multiplier": NOT_POSITIVE,
            "max_cohort": NO_COUNTS,
            "num_honest": (*NO_COUNTS, 11),
            "vector_length": NO_COUNTS,
            "overflow_chance": NO_SHARES,
        },
    ),
}
CASES = [
    (function, name, value)
    for function, (_, _, wrong) in REFUSED.items()
    for name, values in wrong.items()
    for value in values
]


@pytest.mark.parametrize("function", REFUSED)
def test_sane_numbers_are_taken(function: str) -> None:
    call, sane, _ = REFUSED[function]
    call(**sane)


@pytest.mark.parametrize(("function", "name", "value"), CASES)
def test_others_are_refused_in_one_sentence(function: str, name: str, value: object) -> None:
    call, sane, _ = REFUSED[function]
    with pytest.raises(ValueError, match="must ") as refused:
        call(**{**sane, name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, 1.0, 1e308])
def test_coefficients_that_would_hide_a_sensitivity_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="must"):
        BandedToeplitz((1.0, wrong))
    with pytest.raises(ValueError, match="must"):
        BufferedToeplitz((wrong,), (0.5,))
    with pytest.raises(ValueError, match="must"):
        BufferedToeplitz((0.5,), (wrong,))


@given(st.lists(st.tuples(st.floats(), st.integers(-3, 10**9)), min_size=1, max_size=3), st.floats(1e-12, 0.1))
def test_no_charge_makes_others_cheaper(charged: list[tuple[float, int]], delta: float) -> None:
    """Whatever is added to a charge is refused, or costs something; nothing is told as less than the charge alone."""
    alone = spent_on_charges([Charge(1.0, 1)], delta)
    try:
        together = spent_on_charges([Charge(1.0, 1), *(Charge(*each) for each in charged)], delta)
    except ValueError:
        return
    assert together.epsilon >= alone.epsilon * (1 - 1e-9)
    assert together.rho >= alone.rho * (1 - 1e-9)


EVENT = GaussianSumReleased(
    round_id="ab" * 16, model_version=1, num_reports=20, max_participations=1, noise_multiplier=2.0, l2_clip_norm=1.0
)


@pytest.mark.parametrize("num_reports", [1, 5])
def test_a_cohort_smaller_than_declared_is_told_and_spends_no_less(num_reports: int) -> None:
    """The noise is on the sum: with fewer reports it is the same, and so is what it costs each."""
    circumstances = Circumstances(report_goal=20, minimum_separation_s=0.0)
    small = msgspec.structs.replace(EVENT, num_reports=num_reports)
    stated = make_statement([EVENT, small], circumstances, delta=1e-6, ledger_head="")
    assert stated.cohort_sizes == (20, num_reports)
    full = make_statement([EVENT, EVENT], circumstances, delta=1e-6, ledger_head="")
    assert (stated.epsilon, stated.noise_multiplier) == (full.epsilon, full.noise_multiplier)


def test_shares_of_a_cohort_smaller_than_declared_protect_less_and_are_charged_as_that() -> None:
    declared = SumOfShares(sigma=Fraction(30), num_shares=20, squared_bound=10_000, vector_length=10)
    came = SumOfShares(sigma=Fraction(30), num_shares=5, squared_bound=10_000, vector_length=10)
    assert spent_on_sums(came, 1, 1e-6).epsilon > 1.5 * spent_on_sums(declared, 1, 1e-6).epsilon
