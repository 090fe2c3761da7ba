"""Charges against what every single device really went through, worked out matrix by matrix."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregation_service.privacy.accounting import privacy_spent, spent_on_charges
from aggregation_service.privacy.charges import (
    Charge,
    UnaccountableLedger,
    charges,
    effective_multiplier,
    most_participations,
)
from aggregation_service.privacy.distributed import spent_on_sums
from aggregation_service.privacy.ledger import (
    AdaptiveSumReleased,
    ClippingQuantileReleased,
    CorrelatedSumReleased,
    DistributedSumReleased,
    FederatedMetricsReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
    VotesReleased,
)
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.shares import SumOfShares
from protocol.clipping_bit import update_noise_multiplier

BLT = BufferedToeplitz(decays=(0.9, 0.5), scales=(0.4, 0.3))
BANDED = BandedToeplitz(coefficients=(1.0, 0.5, 0.375))
MECHANISMS: tuple[Mechanism, ...] = (Independent(), Tree(restart_every=4), BANDED, BLT)
DEVICES = range(3)


def fresh(noise: float, participations: int, norm: float = 1.0) -> GaussianSumReleased:
    return GaussianSumReleased(
        round_id="0" * 32,
        model_version=0,
        num_reports=3,
        max_participations=participations,
        noise_multiplier=noise,
        l2_clip_norm=norm,
    )


def step(number: int, **changes: object) -> CorrelatedSumReleased:
    values: dict[str, object] = {
        "round_id": "0" * 32,
        "task_id": 1,
        "model_version": number,
        "step": number,
        "mechanism": BLT,
        "num_reports": 3,
        "max_participations": 1,
        "stream_participations": 1,
        "min_separation": 1,
        "noise_multiplier": 2.0,
        "l2_clip_norm": 1.0,
    }
    return CorrelatedSumReleased(**(values | changes))  # type: ignore[arg-type]


def quantile(noise: float, participations: int, round_id: str = "0" * 32) -> ClippingQuantileReleased:
    return ClippingQuantileReleased(
        round_id=round_id,
        model_version=0,
        num_reports=3,
        max_participations=participations,
        noise_multiplier=noise,
        l2_clip_norm=0.5,
    )


def metrics(noise: float, participations: int) -> FederatedMetricsReleased:
    return FederatedMetricsReleased(
        round_id="0" * 32,
        model_version=0,
        metrics=("top1",),
        num_reports=3,
        max_participations=participations,
        noise_multiplier=noise,
        l2_clip_norm=9.0,
    )


def lost(number: int, after: int, noise: float, mechanism: Mechanism, norm: float = 1.0) -> ReleasesLost:
    return ReleasesLost(
        num_releases=number, after_round=after, noise_multiplier=noise, l2_clip_norm=norm, mechanism=mechanism
    )


def encoder(mechanism: Mechanism, rounds: int) -> NDArray[np.float64]:
    """What is noised, as a matrix over rounds: straight from the definitions."""
    match mechanism:
        case Tree():
            spans = [1 << height for height in range(mechanism.restart_every.bit_length())]
            nodes = [(start, span) for span in spans for start in range(0, rounds - span + 1, span)]
            return np.array([[start <= at < start + span for at in range(rounds)] for start, span in nodes], float)
        case BandedToeplitz():
            column = [*mechanism.coefficients, *[0.0] * rounds][:rounds]
        case BufferedToeplitz():
            powers = zip(mechanism.scales, mechanism.decays, strict=True)
            terms = [[scale * decay**lag for lag in range(rounds - 1)] for scale, decay in powers]
            column = [1.0, *(math.fsum(each) for each in zip(*terms, strict=True))][:rounds]
        case _:
            column = [1.0, *[0.0] * rounds][:rounds]
    return np.array([[column[row - at] if row >= at else 0.0 for at in range(rounds)] for row in range(rounds)])


@dataclass
class Stream:
    """The truth of one stream: who was in each of its steps, at what norm, with what deviation."""

    mechanism: Mechanism
    cohorts: list[frozenset[int]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)

    def add(self, cohort: frozenset[int], noise: float, norm: float) -> None:
        self.cohorts.append(cohort)
        self.norms.append(norm)
        self.deviations.append(noise * norm)

    def steps_of(self, device: int) -> list[int]:
        return [at for at, cohort in enumerate(self.cohorts) if device in cohort]

    def squared_shift(self, device: int) -> float:
        """Of a device whose contributions all point the same way, at full norm: the worst, as no coefficient is < 0."""
        given_by = np.array([norm * (device in cohort) for norm, cohort in zip(self.norms, self.cohorts, strict=True)])
        matrix = encoder(self.mechanism, len(self.norms))
        if isinstance(self.mechanism, Tree):  # a node's noise is drawn when it is complete
            last = [int(row.nonzero()[0].max()) for row in matrix]
            deviations = np.array([self.deviations[at] for at in last])
        else:
            deviations = np.array(self.deviations)
        return float(np.sum((matrix @ given_by / deviations) ** 2))


Round = st.tuples(
    st.sampled_from(["fresh", "stream", "new stream", "metrics"]),
    st.frozensets(st.sampled_from(DEVICES), min_size=1),
    st.sampled_from([0.5, 1.0, 2.0]),  # noise multiplier
    st.sampled_from([0.25, 1.0]),  # clipping norm
    st.booleans(),  # with a clipping quantile
)


class World:
    """Rounds happen; the books of a service see them, but for those that a backup lost."""

    def __init__(self, mechanism: Mechanism) -> None:
        self.mechanism = mechanism
        self.events: list[LedgerEvent] = []
        self.squares = defaultdict[int, float](float)  # of fresh noise, by device
        self.counts = dict.fromkeys(DEVICES, 0)
        self.streams: list[Stream] = []
        self.rounds = 0

    def run(self, kind: str, cohort: frozenset[int], noise: float, norm: float, with_quantile: bool) -> None:
        self.rounds += 1
        for device in cohort:
            self.counts[device] += 1
        most, round_id = max(self.counts.values()), f"{self.rounds:032x}"
        if with_quantile:
            self.squares_of(cohort, noise * 3)
            self.events.append(quantile(noise * 3, most, round_id))
        match kind:
            case "fresh":
                self.squares_of(cohort, noise)
                self.events.append(fresh(noise, most, norm))
            case "metrics":
                self.squares_of(cohort, noise)
                self.events.append(metrics(noise, most))
            case _:
                self.step(cohort, noise, norm, most, is_new=kind == "new stream" or not self.streams)

    def squares_of(self, cohort: frozenset[int], noise: float) -> None:
        for device in cohort:
            self.squares[device] += noise**-2

    def step(self, cohort: frozenset[int], noise: float, norm: float, most: int, *, is_new: bool) -> None:
        if is_new:
            self.streams.append(Stream(self.mechanism))
        stream = self.streams[-1]
        stream.add(cohort, noise, norm)
        taken = [stream.steps_of(device) for device in DEVICES]
        gaps = [later - earlier for steps in taken for earlier, later in pairwise(steps)]
        self.events.append(
            step(
                len(stream.cohorts) - 1,
                mechanism=self.mechanism,
                max_participations=most,
                stream_participations=max(map(len, taken)),
                min_separation=min(gaps, default=1),
                noise_multiplier=noise,
                l2_clip_norm=norm,
            )
        )

    def true_multiplier(self) -> float:
        """Of the worst device."""
        shifts = [self.squares[device] + sum(s.squared_shift(device) for s in self.streams) for device in DEVICES]
        return max(shifts) ** -0.5 if max(shifts) else math.inf


@given(mechanism=st.sampled_from(MECHANISMS), rounds=st.lists(Round, max_size=10))
def test_no_device_is_charged_less_than_it_spent(mechanism: Mechanism, rounds: list[tuple[object, ...]]) -> None:
    world = World(mechanism)
    for each in rounds:
        world.run(*each)  # type: ignore[arg-type]
    assert effective_multiplier(charges(world.events)) <= world.true_multiplier() * (1 + 1e-12)


Lost = st.lists(st.tuples(st.frozensets(st.sampled_from(DEVICES), min_size=1), st.sampled_from([0.5, 2.0])), min_size=1)


@settings(max_examples=200)
@given(
    mechanism=st.sampled_from(MECHANISMS[1:]),
    before=st.lists(Round, max_size=6),
    missing=Lost.filter(lambda each: len(each) <= 3),
    norm=st.sampled_from([0.25, 1.0]),
    after=st.lists(Round, max_size=4),
)
@example(
    mechanism=BLT,
    before=[("stream", frozenset({0}), 2.0, 1.0, False)],
    missing=[(frozenset({1}), 0.5)],
    norm=0.25,
    after=[],
)
@example(
    mechanism=BLT,
    before=[("stream", frozenset({0}), 2.0, 1.0, False)],
    missing=[(frozenset({0}), 2.0)] * 3,
    norm=1.0,
    after=[],
)
def test_steps_that_a_backup_lost_are_charged_in_full(
    mechanism: Mechanism,
    before: list[tuple[object, ...]],
    missing: list[tuple[frozenset[int], float]],
    norm: float,
    after: list[tuple[object, ...]],
) -> None:
    """They hold noise and contributions of the steps before them, which the books still know."""
    world = World(mechanism)
    for each in before:
        world.run(*each)  # type: ignore[arg-type]
    if not world.streams:
        world.streams.append(Stream(mechanism))
    for cohort, noise in missing:
        world.streams[-1].add(cohort, noise, norm)
    least = min(noise for _, noise in missing)
    world.events.append(lost(len(missing), world.rounds, least, mechanism, norm))
    broken, world.streams = world.streams, []  # what goes on begins anew
    for each in after:
        world.run(*each)  # type: ignore[arg-type]
    world.streams = broken + world.streams
    assert effective_multiplier(charges(world.events)) <= world.true_multiplier() * (1 + 1e-12)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_stream_is_one_gaussian_mechanism_for_what_was_observed(mechanism: Mechanism) -> None:
    events = [
        step(
            at,
            mechanism=mechanism,
            max_participations=9,
            stream_participations=1 + at // 3,
            min_separation=1 if at < 3 else 3,
        )
        for at in range(8)
    ]
    moved = sensitivity(mechanism, rounds=8, min_separation=3, max_participations=3)
    assert charges(events) == (Charge(2.0 / moved, 1),)


def test_the_least_separation_of_any_step_counts() -> None:
    observed = [(1, 1), (1, 1), (2, 2), (2, 1), (2, 1)]
    events = [
        step(at, max_participations=2, stream_participations=most, min_separation=separation)
        for at, (most, separation) in enumerate(observed)
    ]
    moved = sensitivity(BLT, rounds=5, min_separation=1, max_participations=2)
    assert charges(events) == (Charge(2.0 / moved, 1),)


def test_streams_and_other_releases_add_up_each_by_itself() -> None:
    events: list[LedgerEvent] = [step(0), step(1), step(0, task_id=2), step(0)]
    events += [fresh(4.0, 2), quantile(6.0, 2), metrics(8.0, 3)]
    one, two = (2.0 / sensitivity(BLT, rounds=n, min_separation=1, max_participations=1) for n in (1, 2))
    assert sorted(charges(events)) == sorted(
        [Charge(two, 1), Charge(one, 1), Charge(one, 1), Charge(4.0, 2), Charge(6.0, 2), Charge(8.0, 3)],
    )
    assert most_participations(events) == 3


def test_quantile_and_sum_cost_what_their_plan_says() -> None:
    """Andrew et al. 2021, theorem 1: z_Δ = (z⁻² - (2σ_b)⁻²)^(-1/2) makes the pair cost z."""
    noise, count_deviation = 1.5, 4.0
    of_sum = (noise**-2 - (2 * count_deviation) ** -2) ** -0.5
    pair = charges([fresh(of_sum, 1), quantile(2 * count_deviation, 1)])
    assert effective_multiplier(pair) == pytest.approx(noise, rel=1e-12)


def test_two_releases_of_one_round_are_charged_twice() -> None:
    assert charges([metrics(2.0, 1), metrics(2.0, 1)]) == (Charge(2.0, 2),)


def test_a_norm_that_falls_within_a_stream_makes_its_noise_small_for_what_came_before() -> None:
    (charge,) = charges([step(0, l2_clip_norm=1.0), step(1, l2_clip_norm=0.25)])
    moved = sensitivity(BLT, rounds=2, min_separation=1, max_participations=1)
    assert charge.noise_multiplier == pytest.approx(0.25 * 2.0 / moved)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([step(1)], "must be step 0"),
        ([step(0), step(2)], "must be step 1"),
        ([step(0), step(1), step(1)], "must be step 2"),
        ([step(0, task_id=2), step(1)], "step 1 of task 1 must be step 0"),
        ([step(0), step(1, mechanism=BANDED)], "must have the mechanism of its stream"),
        ([step(0), lost(1, 1, 2.0, BLT), step(1)], "must be step 0"),
        ([lost(1, 1 << 17, 2.0, BLT)], "sensitivity is not known: rounds must be"),
    ],
)
def test_events_that_contradict_each_other_are_refused(events: list[LedgerEvent], why: str) -> None:
    with pytest.raises(UnaccountableLedger, match=why):
        charges(events)


@pytest.mark.parametrize(
    ("charged", "expected"),
    [
        ([], math.inf),
        ([Charge(1.0, 0)], math.inf),
        ([Charge(0.0, 1)], 0.0),
        ([Charge(5.0, 1), Charge(0.0, 1)], 0.0),
        ([Charge(5.0, 1), Charge(1e-320, 1)], 0.0),
        ([Charge(1e-200, 1)], 0.0),
        ([Charge(2.0, 4)], 1.0),
        ([Charge(3.0, 1), Charge(4.0, 1)], 2.4),
    ],
)
def test_effective_multiplier(charged: list[Charge], expected: float) -> None:
    assert effective_multiplier(charged) == pytest.approx(expected, rel=1e-15)


def test_no_noise_anywhere_is_no_guarantee() -> None:
    without: list[list[LedgerEvent]] = [
        [step(0, noise_multiplier=0.0)],
        [step(0), lost(1, 1, 0.0, BLT)],
        [metrics(0.0, 1), fresh(1.0, 1)],
    ]
    assert [effective_multiplier(charges(events)) for events in without] == [0, 0, 0]


def shared(sigma: int, participations: int, *, num_shares: int = 100, squared_bound: int = 10**6) -> LedgerEvent:
    counted_on = SumOfShares(
        sigma=Fraction(sigma), num_shares=num_shares, squared_bound=squared_bound, vector_length=1_422_250
    )
    return DistributedSumReleased(
        round_id="0" * 32,
        model_version=0,
        num_reports=num_shares,
        max_participations=participations,
        noise_multiplier=counted_on.gaussian_multiplier,
        l2_clip_norm=1.0,
        sigma_numerator=sigma,
        sigma_denominator=1,
        num_shares=num_shares,
        squared_bound=squared_bound,
        vector_length=1_422_250,
    )


@pytest.mark.parametrize("sigma", [30, 100, 835])
@pytest.mark.parametrize("participations", [1, 2, 6])
def test_sums_of_shares_cost_what_gaussian_ones_do(sigma: int, participations: int) -> None:
    """The Gaussian's epsilon to a thousandth, never below it, and as the bound for shares of any width has it."""
    spent = spent_on_charges(charges([shared(sigma, participations)]), 1e-6)
    gaussian = privacy_spent(sigma / 100, participations, 1e-6)
    assert gaussian.epsilon <= spent.epsilon <= gaussian.epsilon * (1 + 1e-3)
    event = shared(sigma, participations)
    assert isinstance(event, DistributedSumReleased)
    assert spent.epsilon == pytest.approx(spent_on_sums(event.shares, participations, 1e-6).epsilon, rel=1e-9)
    assert spent.rho == pytest.approx(spent_on_sums(event.shares, participations, 1e-6).rho, rel=1e-3)


def test_sums_of_shares_and_sums_with_fresh_noise_are_charged_together_at_the_least() -> None:
    (least,) = charges([fresh(3.0, 1), shared(200, 2), shared(100, 3), lost(2, 3, 4.0, Independent())])
    assert least.times == 3 + 2
    assert least.noise_multiplier == pytest.approx(1.0, rel=1e-4)
    assert least.noise_multiplier < 1.0
    assert len(charges([shared(100, 2), step(0)])) == 2, "a stream is charged by itself"


@given(st.floats(0.1, 20), st.floats(1.01, 40), st.integers(1, 50))
def test_a_sum_with_its_count_costs_what_both_would_by_themselves(
    noise: float, factor: float, participations: int
) -> None:
    """One charge for the joint mechanism, equal to two: of the weights at their own noise, and of the count at its."""
    count_noise = noise / 2 * factor
    joint = AdaptiveSumReleased(
        round_id="0" * 32,
        model_version=0,
        num_reports=3,
        max_participations=participations,
        noise_multiplier=noise,
        l2_clip_norm=1.0,
        update_clip_norm=0.9,
        count_noise=count_noise,
    )
    (charge,) = charges([joint])
    apart = [
        Charge(update_noise_multiplier(noise, count_noise), participations),
        Charge(2 * count_noise, participations),
    ]
    assert effective_multiplier([charge]) == pytest.approx(effective_multiplier(apart), rel=1e-9)


def votes(noise: float, participations: int, level: int) -> VotesReleased:
    values = {name: getattr(fresh(noise, participations), name) for name in GaussianSumReleased.__struct_fields__}
    return VotesReleased(**values, discovery_id="5" * 32, level=level, num_candidates=7)


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0.1, 20), st.sets(st.sampled_from(DEVICES), min_size=1)),
        min_size=1,
        max_size=12,
    )
)
def test_votes_never_cost_a_device_more_than_is_charged(history: list[tuple[bool, float, set[int]]]) -> None:
    """Each round is a vote or a sum of training, of its own noise; each device's own composition is the oracle."""
    went_through, counts = defaultdict[int, list[Charge]](list), dict.fromkeys(DEVICES, 0)
    events: list[LedgerEvent] = []
    for is_vote, noise, taking_part in history:
        for device in taking_part:
            counts[device] += 1
            went_through[device].append(Charge(noise, 1))
        most = max(counts.values())
        events.append(votes(noise, most, len(events)) if is_vote else fresh(noise, most))
    charged = effective_multiplier(charges(events))
    assert all(charged <= effective_multiplier(each) * (1 + 1e-12) for each in went_through.values())


def test_a_few_levels_do_not_cost_as_if_a_long_training_had_had_their_noise() -> None:
    training = [step(number) for number in range(100)]
    levels = [votes(2.0, 50, level) for level in range(5)]
    expected = effective_multiplier([*charges(training), Charge(2.0, 5)])
    assert effective_multiplier(charges([*training, *levels])) == pytest.approx(expected)


def test_levels_with_more_noise_than_training_cost_what_rounds_of_training_would() -> None:
    levels = [votes(9.0, count, count) for count in range(1, 6)]
    later, earlier = ([fresh(1.0, first + count) for count in range(1, 11)] for first in (5, 0))
    assert charges([*levels, *later]) == (Charge(1.0, 15),)
    levels = [votes(9.0, 10 + count, count) for count in range(1, 6)]
    assert charges([*earlier, *levels]) == (Charge(1.0, 10), Charge(9.0, 5)), "of the 15 the votes were 5"


def test_levels_alone_are_charged_once_each_at_most() -> None:
    assert charges([votes(2.0, 1, 0), votes(2.5, 7, 1)]) == (Charge(2.0, 2),)
