"""What a statement sorts out of a ledger is what accounting takes of it, and nothing is left out."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.charges import charges
from aggregation_service.privacy.disclosures import (
    AdaptiveClipping,
    RoundFacts,
    count_noised,
    find_clipping,
    list_mechanisms,
    list_plans,
    list_released,
    list_streams,
)
from aggregation_service.privacy.ledger import (
    AdaptiveSumReleased,
    ClippingQuantileReleased,
    CorrelatedSumReleased,
    FederatedMetricsReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
)
from aggregation_service.privacy.mechanisms.parameters import BandedToeplitz, Independent, Mechanism, Tree

CLIP = 0.3
ON_GRID = CLIP * (1 + 1e-6)


def round_id(number: int) -> str:
    return f"{number:032x}"


def fresh(number: int, *, noise: float = 2.0, norm: float = ON_GRID) -> GaussianSumReleased:
    return GaussianSumReleased(
        round_id=round_id(number),
        model_version=number,
        num_reports=10,
        max_participations=1,
        noise_multiplier=noise,
        l2_clip_norm=norm,
    )


def step(
    number: int,
    *,
    task: int = 1,
    mechanism: Mechanism = BandedToeplitz((1.0, 0.5)),  # noqa: B008
    noise: float = 2.0,
    norm: float = ON_GRID,
    separation: int = 1,
) -> CorrelatedSumReleased:
    participations = 1 + number // separation
    return CorrelatedSumReleased(
        round_id=round_id(100 * task + number),
        task_id=task,
        model_version=number,
        step=number,
        mechanism=mechanism,
        num_reports=10,
        max_participations=participations,
        stream_participations=participations,
        min_separation=separation if participations > 1 else 1,
        noise_multiplier=noise,
        l2_clip_norm=norm,
    )


LOST = ReleasesLost(num_releases=3, after_round=1, noise_multiplier=2.0, l2_clip_norm=CLIP)
QUANTILE = ClippingQuantileReleased(
    round_id=round_id(1), model_version=1, num_reports=9, max_participations=1, noise_multiplier=7.0, l2_clip_norm=0.5
)
METRICS = FederatedMetricsReleased(
    round_id=round_id(1),
    model_version=1,
    metrics=("loss", "words"),
    num_reports=9,
    max_participations=1,
    noise_multiplier=5.0,
    l2_clip_norm=4.0,
)
TRAINED = RoundFacts("aa" * 32, "training", CLIP)
EVALUATED = RoundFacts("bb" * 32, "evaluation", CLIP)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([Tree(2), Tree(8), BandedToeplitz((1.0, 0.5, 0.25))]),
    st.lists(st.tuples(st.sampled_from([1.0, 2.0]), st.sampled_from([0.3, 0.4])), min_size=1, max_size=9),
    st.integers(1, 4),
)
def test_a_stream_is_stated_as_it_is_charged(
    mechanism: Mechanism, steps: list[tuple[float, float]], separation: int
) -> None:
    events = [
        step(number, mechanism=mechanism, noise=noise, norm=norm, separation=separation)
        for number, (noise, norm) in enumerate(steps)
    ]
    (stream,) = list_streams(events, {})
    (charge,) = charges(events)
    assert charge.times == 1
    assert stream.noise_multiplier / stream.sensitivity == pytest.approx(charge.noise_multiplier, rel=1e-12)
    assert (stream.rounds, stream.mechanism) == (len(events), mechanism)
    assert stream.max_participations == 1 + (len(events) - 1) // separation
    assert stream.min_separation == (separation if stream.max_participations > 1 else None)


def test_a_step_0_begins_another_stream_and_tasks_have_their_own() -> None:
    events: list[LedgerEvent] = [step(0), step(0, task=2), step(1), step(1, task=2), step(2), step(0)]
    facts = {round_id(100): RoundFacts("aa" * 32, "training", CLIP, separation_rounds=4, participation_limit=6)}
    streams = list_streams(events, facts)
    assert [(stream.task_id, stream.rounds) for stream in streams] == [(1, 3), (2, 2), (1, 1)]
    assert [(stream.participation_limit, stream.separation_limit) for stream in streams] == [(6, 4), (None, 1), (6, 4)]
    assert list_streams([fresh(1), LOST], {}) == ()


def test_everything_released_is_in_one_kind() -> None:
    events: list[LedgerEvent] = [fresh(0, noise=3.0), QUANTILE, fresh(1, noise=9.0), METRICS, LOST, step(0), METRICS]
    released = list_released(events, {round_id(0): TRAINED, round_id(1): EVALUATED})
    told = {each.kind: (each.times, each.noise_multiplier, each.l2_clip_norm, each.metrics) for each in released}
    assert told == {
        "model": (2, 2.0, ON_GRID, ()),
        "clipping_quantile": (1, 7.0, 0.5, ()),
        "evaluation": (1, 9.0, ON_GRID, ()),
        "metrics": (2, 5.0, 4.0, ("loss", "words")),
        "lost": (3, 2.0, CLIP, ()),
    }


def test_mechanisms_and_plans_of_what_was_released() -> None:
    events: list[LedgerEvent] = [fresh(0), step(0, mechanism=Tree(4)), QUANTILE, LOST, fresh(1), fresh(2)]
    facts = {round_id(0): TRAINED, round_id(1): EVALUATED, round_id(2): TRAINED, round_id(9): TRAINED}
    assert list(list_mechanisms(events)) == [Independent(), Tree(4), Independent(), Independent(), Independent()]
    assert list_plans(events, facts) == ("aa" * 32, "bb" * 32)


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        ([fresh(0, norm=CLIP)], (1, 1)),
        ([fresh(0, norm=ON_GRID)], (0, 1)),
        ([fresh(0, norm=CLIP, noise=0.0), fresh(0, noise=0.0)], (0, 0)),
        ([fresh(9, norm=ON_GRID)], (1, 1)),  # whose plan is not known
        ([step(0)], (0, 1)),
        ([LOST], (3, 3)),
        ([fresh(0, norm=CLIP), LOST, fresh(0)], (4, 5)),
        ([fresh(0, norm=CLIP), fresh(0), LOST], (1, 5)),
        ([QUANTILE, METRICS], (0, 0)),
    ],
)
def test_noise_in_floats_is_told_from_noise_on_the_grid(events: list[LedgerEvent], counted: tuple[int, int]) -> None:
    assert count_noised(events, {round_id(0): TRAINED}) == counted


def test_streams_are_json_with_the_mechanism_s_numbers() -> None:
    (stream,) = list_streams([step(0)], {})
    written = msgspec.json.decode(msgspec.json.encode(stream))
    assert written["mechanism"] == {"kind": "banded_toeplitz", "coefficients": [1.0, 0.5]}
    assert (written["min_separation"], written["participation_limit"]) == (None, None)


def adapted(number: int, norm: float) -> AdaptiveSumReleased:
    return AdaptiveSumReleased(
        round_id=round_id(number),
        model_version=number,
        num_reports=9,
        max_participations=1,
        noise_multiplier=2.0,
        l2_clip_norm=1.1 * norm,
        update_clip_norm=norm,
        count_noise=5.0 - number,
    )


def test_clipping_that_adapts_is_told_with_its_norms_and_the_count_as_a_release() -> None:
    events: list[LedgerEvent] = [fresh(9), adapted(0, 0.7), adapted(1, 0.3), adapted(2, 0.4)]
    low, high = (ClippingParameters(floor=0.1, ceiling=1.0), ClippingParameters(floor=0.2, ceiling=2.0))
    facts = {round_id(0): TRAINED._replace(clipping=low), round_id(1): TRAINED._replace(clipping=high)}
    told = find_clipping(events, facts)
    assert told == AdaptiveClipping(
        rounds=3, least_norm=0.3, largest_norm=0.7, floor=0.1, ceiling=2.0, target_quantiles=(0.5,)
    )
    released = {each.kind: (each.times, each.noise_multiplier, each.l2_clip_norm) for each in list_released(events, {})}
    assert released["clipping_quantile"] == (3, 6.0, 0.5)
    assert released["model"][0] == 4
    assert find_clipping([fresh(0), QUANTILE], facts) is None
    unknown = find_clipping(events, {})
    assert unknown is not None
    assert (unknown.floor, unknown.ceiling) == (None, None)
