import math
from typing import Any

import msgspec
import pytest

from aggregation_service.privacy.ledger import (
    AdaptiveSumReleased,
    ClippingQuantileReleased,
    CorrelatedSumReleased,
    DistributedSumReleased,
    FederatedMetricsReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
    UnknownEvent,
    VotesReleased,
    decode_event,
    encode_event,
)
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz, Independent

ROUND: dict[str, Any] = {
    "round_id": "ab" * 16,
    "model_version": 3,
    "num_reports": 20,
    "max_participations": 2,
    "noise_multiplier": 0.7,
    "l2_clip_norm": 0.3,
}
STEP: dict[str, Any] = {
    **ROUND,
    "task_id": 7,
    "step": 4,
    "mechanism": BufferedToeplitz(decays=(0.9, 0.5), scales=(0.4, 0.3)),
    "stream_participations": 2,
    "min_separation": 4,
}
SHARES: dict[str, Any] = {
    **ROUND,
    "noise_multiplier": 2.5,
    "sigma_numerator": 20,
    "sigma_denominator": 2,
    "num_shares": 16,
    "squared_bound": 254,
    "vector_length": 37,
}
EVENT = GaussianSumReleased(**ROUND)
CORRELATED = CorrelatedSumReleased(**STEP)
ADAPTIVE = AdaptiveSumReleased(**ROUND, update_clip_norm=0.25, count_noise=5.0)
METRICS = FederatedMetricsReleased(**ROUND, metrics=("top1", "words"))
VOTES = VotesReleased(**ROUND, discovery_id="cd" * 16, level=1, num_candidates=551_881)
DISTRIBUTED = DistributedSumReleased(**SHARES)
LOST = ReleasesLost(num_releases=4, after_round=9, noise_multiplier=0.7, l2_clip_norm=0.3)
EVENTS: list[LedgerEvent] = [
    EVENT,
    ADAPTIVE,
    CORRELATED,
    ClippingQuantileReleased(**ROUND),
    METRICS,
    DISTRIBUTED,
    VOTES,
    LOST,
]


def changed(event: LedgerEvent, changes: dict[str, object]) -> str:
    return msgspec.json.encode({**msgspec.json.decode(encode_event(event)), **changes}).decode()


@pytest.mark.parametrize("event", EVENTS)
def test_round_trip(event: LedgerEvent) -> None:
    assert decode_event(encode_event(event)) == event
    assert encode_event(event) == encode_event(decode_event(encode_event(event)))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "laplace_sum_released"},
        {"noise_multiplier": -1},
        {"noise_multiplier": None},
        {"noise_multiplier": 1e10},
        {"l2_clip_norm": 0},
        {"l2_clip_norm": 1e10},
        {"free_of_charge": True},
    ],
)
def test_what_cannot_be_read_is_refused_and_never_free(event: LedgerEvent, changes: dict[str, object]) -> None:
    with pytest.raises(UnknownEvent):
        decode_event(changed(event, changes))


@pytest.mark.parametrize("event", EVENTS[:-1])
@pytest.mark.parametrize("changes", [{"num_reports": 0}, {"max_participations": 0}, {"max_participations": 1 << 60}])
def test_counts_of_rounds_are_bounded(event: LedgerEvent, changes: dict[str, object]) -> None:
    with pytest.raises(UnknownEvent):
        decode_event(changed(event, changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -1},
        {"min_separation": 0},
        {"stream_participations": 0},
        {"mechanism": {"kind": "magic"}},
        {"mechanism": {"kind": "buffered_toeplitz", "decays": [1.5], "scales": [0.4]}},
        {"mechanism": None},
        {"stream_participations": 3},
        {"min_separation": 5},
        {"step": 3},
    ],
)
def test_a_step_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UnknownEvent):
        decode_event(changed(CORRELATED, changes))


def test_more_participations_than_fit_are_named() -> None:
    with pytest.raises(ValueError, match="step must be >= 5 for 2 participations that are 5 apart, got 4"):
        CorrelatedSumReleased(**{**STEP, "min_separation": 5})
    with pytest.raises(ValueError, match="stream_participations must be <= max_participations, 2, got 3"):
        CorrelatedSumReleased(**{**STEP, "stream_participations": 3, "min_separation": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": 2.51},
        {"sigma_numerator": 19},
        {"sigma_denominator": 3},
        {"sigma_numerator": 0},
        {"sigma_numerator": 1 << 31, "sigma_denominator": 1 << 30},
        {"sigma_numerator": 2},
        {"sigma_denominator": 0},
        {"num_shares": 15},
        {"num_shares": 0},
        {"num_shares": 21},
        {"num_reports": 15},
        {"squared_bound": 256},
        {"squared_bound": 0},
        {"squared_bound": 1 << 63},
        {"vector_length": 0},
        {"vector_length": 1 << 26},
    ],
)
def test_shares_that_do_not_make_the_noise_are_refused(changes: dict[str, object]) -> None:
    """16 shares of deviation 10 have 1,600 of variance, of which 9 are for rounding: 2.5 of a norm of sqrt(254)."""
    assert DISTRIBUTED.shares.gaussian_multiplier == pytest.approx(math.sqrt(1591 / 254), rel=1e-9)
    with pytest.raises(UnknownEvent):
        decode_event(changed(DISTRIBUTED, changes))


@pytest.mark.parametrize("metrics", [[], ["Top1"], ["top 1"], ["x" * 64], ["top1\n"]])
def test_metrics_have_names(metrics: list[str]) -> None:
    with pytest.raises(UnknownEvent):
        decode_event(changed(METRICS, {"metrics": metrics}))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("name", ["noise_multiplier", "l2_clip_norm"])
def test_nothing_is_written_that_could_not_be_read_again(name: str, value: float) -> None:
    """A program can make such an event; the ledger never holds it."""
    for event in EVENTS:
        if (event, name, value) == (DISTRIBUTED, "noise_multiplier", math.inf):
            continue  # more than its shares make: there is no such event
        with pytest.raises(UnknownEvent):
            encode_event(msgspec.structs.replace(event, **{name: value}))


def test_rows_of_earlier_versions_stay_readable() -> None:
    """Texts as revisions 0001 to 0003 of the database hold them."""
    of_round = f'"round_id":"{"ab" * 16}","model_version":3,"num_reports":20,"max_participations":2'
    noise = '"noise_multiplier":0.7,"l2_clip_norm":0.3'
    assert decode_event(f'{{"kind":"gaussian_sum_released",{of_round},{noise}}}') == EVENT
    assert decode_event(f'{{"kind":"releases_lost","num_releases":4,"after_round":9,{noise}}}') == LOST
    assert LOST.mechanism == Independent()


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EVENT.noise_multiplier = 9.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes",
    [
        {"update_clip_norm": 0},
        {"update_clip_norm": None},
        {"count_noise": 0},
        {"count_noise": -1},
        {"count_noise": 1e10},
    ],
)
def test_a_count_of_devices_within_a_norm_is_bounded(changes: dict[str, object]) -> None:
    with pytest.raises(UnknownEvent):
        decode_event(changed(ADAPTIVE, changes))
