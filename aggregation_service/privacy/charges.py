"""From ledger to charges: the Gaussian mechanisms that one device's log may have been through.

All that is released is Gaussian, alone or in a stream, or as good as that (`shares`), so one list of charges holds what
any accountant needs. The device charged may not exist: it took part as often as any did in each kind of release, where
noise was least.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from aggregation_service.privacy.ledger import (
    ClippingQuantileReleased,
    CorrelatedSumReleased,
    DistributedSumReleased,
    FederatedMetricsReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
    UnknownEvent,
    VotesReleased,
)
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity

_WITHOUT_NOISE = 1e-6
"""Noise multipliers below are told as none: ε would be above 10^11, and float64 loses it near 10^-150."""


FreshSum = GaussianSumReleased | DistributedSumReleased | ReleasesLost
"""What may be accounted by itself; of what was lost, that which was not of a stream."""


class UnaccountableLedger(UnknownEvent):
    """Events that can be read, but contradict each other or are beyond every bound known; their cost is not known."""


class Charge(NamedTuple):
    """A device went `times` times through a Gaussian mechanism of this noise multiplier, 0 for none at all."""

    noise_multiplier: float
    times: int


def charges(events: Iterable[LedgerEvent]) -> tuple[Charge, ...]:
    """What the worst device is charged for all of a population's ledger, oldest first.

    | released                        | charged                                                                       |
    |---------------------------------|-------------------------------------------------------------------------------|
    | sums with fresh noise, and lost | at their least noise, the most participations of a device and all lost        |
    | a stream of sums                | once, at the noise over the stream's sensitivity, for what was observed in it |
    | sums of votes                   | with those with fresh noise, or apart, no more often than there were any      |
    | clipping quantiles              | at their least noise, the most participations of a device                     |
    | metrics                         | the same                                                                      |

    Guarantees:
      Never less than any device that the events can be about: their composition bounds that of its releases, whichever
      rounds it was in. A device's report is in one sum of a round at most: where devices make the noise a round has a
      sum for each group, and a device is in one group.

    Raises:
      UnaccountableLedger: a stream's steps or mechanism are not those of one stream, or it is too long.

    """
    events = list(events)
    fresh = [each for each in events if isinstance(each, FreshSum) and _was_fresh(each)]
    quantiles = [each for each in events if isinstance(each, ClippingQuantileReleased)]
    metrics = [each for each in events if isinstance(each, FederatedMetricsReleased)]
    found = [*_charge_fresh(fresh), *_charge_streams(events), _charge_extras(quantiles), _charge_extras(metrics)]
    return tuple(charge for charge in found if charge is not None)


def most_participations(events: Iterable[LedgerEvent]) -> int:
    """Bounds how often any one device took part: the most that was counted, and every release that was lost."""
    counted = lost = 0
    for event in events:
        if isinstance(event, ReleasesLost):
            lost += event.num_releases
        else:
            counted = max(counted, event.max_participations)
    return counted + lost


def effective_multiplier(charged: Iterable[Charge]) -> float:
    """The noise multiplier of the one Gaussian mechanism that all charges together are; infinity for none.

    Guarantees:
      0 where any charge has no noise, or so little that no number could tell what it costs.

    Source: Dong, Roth and Su 2019, arXiv 1905.02383, corollary 3.3: μ² = Σ μ_i², where μ = 1 / noise multiplier.

    """
    charged = [each for each in charged if each.times > 0]
    if not charged:
        return math.inf
    if len(charged) == 1:  # the same number as for the one mechanism alone, to the last bit
        effective = charged[0].noise_multiplier / math.sqrt(charged[0].times)
    else:
        floor = _WITHOUT_NOISE / 2  # small enough to end as 0 below, and never divided by 0
        shifts = [math.sqrt(each.times) / max(each.noise_multiplier, floor) for each in charged]
        effective = 1 / math.hypot(*shifts)
    return effective if effective >= _WITHOUT_NOISE else 0.0


def _was_fresh(event: FreshSum) -> bool:
    return not isinstance(event, ReleasesLost) or isinstance(event.mechanism, Independent)


def _charge_fresh(events: Sequence[FreshSum]) -> list[Charge | None]:
    """Both ways hold for every device, so the cheaper one is charged.

    Together every participation is charged at the least noise of all. Apart, votes have their own, and a device is in
    no more of them than there were: a few levels do not cost as if the rounds of a long training had had their noise.
    """
    votes = [event for event in events if isinstance(event, VotesReleased)]
    others = [event for event in events if not isinstance(event, VotesReleased)]
    if not votes or not others:
        return [_charge_at_most(votes) if votes else _charge_sums(others)]
    apart, together = [_charge_sums(others), _charge_at_most(votes)], [_charge_sums(events)]
    return max(apart, together, key=lambda way: effective_multiplier(each for each in way if each is not None))


def _charge_at_most(votes: Sequence[VotesReleased]) -> Charge:
    times = min(most_participations(votes), len(votes))
    return Charge(min(event.noise_multiplier for event in votes), times)


def _charge_sums(events: Sequence[FreshSum]) -> Charge | None:
    if not events:
        return None
    return Charge(min(event.noise_multiplier for event in events), most_participations(events))


def _charge_extras(events: Sequence[ClippingQuantileReleased] | Sequence[FederatedMetricsReleased]) -> Charge | None:
    """Releases that come beside a round's sum; a round may hold several."""
    if not events:
        return None
    most_a_round = max(Counter(event.round_id for event in events).values())
    return Charge(min(event.noise_multiplier for event in events), most_participations(events) * most_a_round)


def _charge_streams(events: Sequence[LedgerEvent]) -> Iterator[Charge]:
    """Streams are independent of one another. What was lost of them is not, so there the norms of shifts add up."""
    lost = [each for each in events if isinstance(each, ReleasesLost) and not _was_fresh(each)]
    charged = [_charge_stream(stream, lost) for stream in _streams(events)]
    if not lost:
        yield from charged
        return
    # |v + w| <= |v| + |w|, v the shift by the reports in the books, w by those lost.
    multipliers = [*map(_lost_multiplier, lost), effective_multiplier(charged)]
    yield Charge(1 / math.fsum(1 / each for each in multipliers) if min(multipliers) > 0 else 0.0, 1)


def _charge_stream(stream: Sequence[CorrelatedSumReleased], lost: Sequence[ReleasesLost]) -> Charge:
    """One Gaussian mechanism: its noise is the least of any step, while each contribution may have the largest norm.

    Steps that were lost hold contributions of the steps before them, too, as if any could have been of this stream.
    """
    largest_norm = max(step.l2_clip_norm for step in stream)
    steps: list[CorrelatedSumReleased | ReleasesLost] = [*stream, *lost]
    noise = min(step.noise_multiplier * (step.l2_clip_norm / largest_norm) for step in steps)
    rounds = max(len(stream), *map(_most_steps, lost)) if lost else len(stream)
    separation = min((step.min_separation for step in stream if step.stream_participations > 1), default=1)
    participations = max(step.stream_participations for step in stream)
    return Charge(noise / _sensitivity(stream[0].mechanism, rounds, separation, participations), 1)


def _lost_multiplier(event: ReleasesLost) -> float:
    """Of a stream's lost steps, as if every device had taken part in all of them."""
    moved = _sensitivity(event.mechanism, _most_steps(event), 1, event.num_releases)
    return event.noise_multiplier / moved


def _most_steps(event: ReleasesLost) -> int:
    """A stream has no more steps than its population had rounds."""
    return event.after_round + event.num_releases


def _streams(events: Iterable[LedgerEvent]) -> list[list[CorrelatedSumReleased]]:
    """The steps of each stream, in order and without gaps; none goes on where releases were lost."""
    current: dict[int, list[CorrelatedSumReleased]] = {}
    found = []
    for event in events:
        if isinstance(event, ReleasesLost):
            current.clear()
        if not isinstance(event, CorrelatedSumReleased):
            continue
        if event.step == 0:
            current[event.task_id] = []
            found.append(current[event.task_id])
        stream = current.get(event.task_id, [])
        _check_follows(stream, event)
        stream.append(event)
    return found


def _check_follows(stream: Sequence[CorrelatedSumReleased], event: CorrelatedSumReleased) -> None:
    if event.step == 0:
        return
    what = f"step {event.step} of task {event.task_id}"
    if event.step != len(stream):
        raise UnaccountableLedger(f"{what} must be step {len(stream)}: that is the next of its stream in the ledger")
    if event.mechanism != stream[0].mechanism:
        raise UnaccountableLedger(f"{what} must have the mechanism of its stream, and has another")


@lru_cache(maxsize=4096)
def _sensitivity(mechanism: Mechanism, rounds: int, min_separation: int, max_participations: int) -> float:
    try:
        return sensitivity(
            mechanism, rounds=rounds, min_separation=min_separation, max_participations=max_participations
        )
    except ValueError as error:
        raise UnaccountableLedger(f"a stream's sensitivity is not known: {error}") from None
