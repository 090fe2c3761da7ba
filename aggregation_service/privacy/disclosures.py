"""What a ledger says that was released, sorted for a privacy statement: by kind, and stream by stream."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.ledger import (
    AdaptiveSumReleased,
    ClippingQuantileReleased,
    CorrelatedSumReleased,
    DistributedSumReleased,
    FederatedMetricsReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
    SumReleased,
    VotesReleased,
)
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity
from aggregation_service.privacy.shares import SumOfShares

ReleaseKind = Literal["model", "evaluation", "discovery", "clipping_quantile", "metrics", "lost"]


class RoundFacts(NamedTuple):
    """What a statement says of a round beside its ledger event: what stands in its task.

    Attributes:
      plan_sha256: of the plan that its devices were given.
      kind: "training", "evaluation" or "discovery".
      l2_sensitivity: how far one report moves the sum in real numbers, `Plan.l2_sensitivity`.
      separation_rounds: of a correlated mechanism: the fewest steps between two reports of a device, as enforced.
      participation_limit: likewise the most reports of a device in the stream; 0 for no limit.
      adversary_fraction: under secure aggregation, of a group's members, who are assumed to side with the service.
      dropout_fraction: likewise, who may drop out.
      clipping: how the clipping norm adapts; None where it does not.

    """

    plan_sha256: str
    kind: str
    l2_sensitivity: float
    separation_rounds: int = 1
    participation_limit: int = 0
    adversary_fraction: float = 0.0
    dropout_fraction: float = 0.0
    clipping: ClippingParameters | None = None


class _Noise(NamedTuple):
    """The noise on a part of what an event says was released, in the same terms."""

    noise_multiplier: float
    l2_clip_norm: float


class Released(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All releases of one kind: how many, and of all the least noise and the largest norm of one device's share.

    `metrics` names what was measured, where `kind` is "metrics". Of a "clipping_quantile" that sums had in them, noise
    and norm are those of the count alone, in devices; what it cost is in the sums' noise.
    """

    kind: ReleaseKind
    times: int
    noise_multiplier: float
    l2_clip_norm: float
    metrics: tuple[str, ...] = ()


class Shares(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sums of groups whose noise their devices added, of the same quantisation and share.

    Attributes:
      sums: that the service could open, each of one group.
      sigma: deviation of one device's share, in integers.
      num_shares: honest shares that are counted on in each sum; those that came besides only add to the noise.
      least_reports: fewest devices in any of the sums.
      squared_bound: one device's integers add up to at most this when squared, so that the noise multiplier is
        sqrt((num_shares sigma^2 - 9) / squared_bound).
      adversary_fraction: of a group, assumed to side with the service, so that their shares are not counted.
      dropout_fraction: of a group, assumed to drop out; with more there is no sum.

    """

    sums: int
    sigma: float
    num_shares: int
    least_reports: int
    squared_bound: int
    adversary_fraction: float
    dropout_fraction: float


class Stream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rounds of one task with correlated noise: together one Gaussian mechanism, accounted as a whole.

    Attributes:
      task_id: the task.
      mechanism: how noise was correlated.
      rounds: steps of the stream that released a sum.
      noise_multiplier: the least deviation of one draw of noise, in units of the largest norm of one report.
      sensitivity: how far one device can have moved all rounds together, in that norm, for the participations observed;
        the stream's guarantee is that of noise multiplier `noise_multiplier / sensitivity`.
      max_participations: most reports of one device, as observed.
      min_separation: fewest rounds from one report of a device to its next, as observed; None where none has two.
      participation_limit: most reports of one device that the service takes; None for no limit.
      separation_limit: fewest rounds from one report to the next that it takes.

    """

    task_id: int
    mechanism: Mechanism
    rounds: int
    noise_multiplier: float
    sensitivity: float
    max_participations: int
    min_separation: int | None
    participation_limit: int | None
    separation_limit: int


class AdaptiveClipping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rounds whose clipping norm followed a quantile of the norms of the updates.

    Attributes:
      rounds: that released a sum, with how many devices were within the norm.
      least_norm: of the norms that updates were clipped to, in units of weight change.
      largest_norm: likewise.
      floor: the norm was never let below; None where that is not known.
      ceiling: nor above.
      target_quantiles: shares of the devices whose updates should stay as they were.

    """

    rounds: int
    least_norm: float
    largest_norm: float
    floor: float | None
    ceiling: float | None
    target_quantiles: tuple[float, ...]


def find_clipping(events: Iterable[LedgerEvent], rounds: Mapping[str, RoundFacts]) -> AdaptiveClipping | None:
    """What adaptive clipping did in all rounds that had it; None where none had."""
    adapted = [event for event in events if isinstance(event, AdaptiveSumReleased)]
    if not adapted:
        return None
    facts = (rounds.get(event.round_id) for event in adapted)
    chosen = list(dict.fromkeys(each.clipping for each in facts if each is not None and each.clipping is not None))
    return AdaptiveClipping(
        rounds=len(adapted),
        least_norm=min(event.update_clip_norm for event in adapted),
        largest_norm=max(event.update_clip_norm for event in adapted),
        floor=min((each.floor for each in chosen), default=None),
        ceiling=max((each.ceiling for each in chosen), default=None),
        target_quantiles=tuple(sorted({each.target_quantile for each in chosen})),
    )


def list_streams(events: Iterable[LedgerEvent], rounds: Mapping[str, RoundFacts]) -> tuple[Stream, ...]:
    """The streams of a ledger that accounting takes, in the order of their first steps; what was lost is in none."""
    streams: list[list[CorrelatedSumReleased]] = []
    current: dict[int, list[CorrelatedSumReleased]] = {}
    for event in events:
        if not isinstance(event, CorrelatedSumReleased):
            continue
        if event.step == 0:
            current[event.task_id] = []
            streams.append(current[event.task_id])
        current[event.task_id].append(event)
    return tuple(_stream(steps, rounds) for steps in streams)


def list_released(events: Sequence[LedgerEvent], rounds: Mapping[str, RoundFacts]) -> tuple[Released, ...]:
    """What was released besides, or for, the model, each kind once."""
    kinds: dict[ReleaseKind, list[LedgerEvent]] = {}
    for event in events:
        kinds.setdefault(_kind(event, rounds), []).append(event)
        if isinstance(event, AdaptiveSumReleased):
            kinds.setdefault("clipping_quantile", []).append(event)
    return tuple(_released(kind, found) for kind, found in kinds.items())


def list_shares(events: Iterable[LedgerEvent], rounds: Mapping[str, RoundFacts]) -> tuple[Shares, ...]:
    """The sums with noise by devices, those with the same shares together, in the order of their first."""
    alike: dict[tuple[SumOfShares, float, float], list[DistributedSumReleased]] = {}
    for event in events:
        if isinstance(event, DistributedSumReleased):
            facts = rounds.get(event.round_id)
            assumed = (facts.adversary_fraction, facts.dropout_fraction) if facts else (0.0, 0.0)
            alike.setdefault((event.shares, *assumed), []).append(event)
    return tuple(
        Shares(
            sums=len(found),
            sigma=float(shares.sigma),
            num_shares=shares.num_shares,
            least_reports=min(event.num_reports for event in found),
            squared_bound=shares.squared_bound,
            adversary_fraction=adversaries,
            dropout_fraction=dropouts,
        )
        for (shares, adversaries, dropouts), found in alike.items()
    )


def list_mechanisms(events: Iterable[LedgerEvent]) -> Iterator[Mechanism | SumOfShares]:
    """What made the noise of each sum."""
    for event in events:
        if isinstance(event, DistributedSumReleased):
            yield event.shares
        elif isinstance(event, GaussianSumReleased):
            yield Independent()
        elif isinstance(event, CorrelatedSumReleased | ReleasesLost):
            yield event.mechanism


def list_plans(events: Iterable[LedgerEvent], rounds: Mapping[str, RoundFacts]) -> tuple[str, ...]:
    """SHA-256 of the plans of all rounds that released something, each once, oldest first."""
    named = (
        rounds[event.round_id] for event in events if not isinstance(event, ReleasesLost) if event.round_id in rounds
    )
    return tuple(dict.fromkeys(facts.plan_sha256 for facts in named))


def count_noised(events: Iterable[LedgerEvent], rounds: Mapping[str, RoundFacts]) -> tuple[int, int]:
    """How many sums have noise as floating-point numbers, and how many have any.

    On the integer grid one report moves a sum by more than in real numbers, as it is rounded, and the event says so.
    A sum whose plan is not known counts as one in floats; so does one that was lost before the first on the grid.
    """
    floating = noised = 0
    seen_grid = False
    for event in events:
        if event.noise_multiplier == 0 or isinstance(event, ClippingQuantileReleased | FederatedMetricsReleased):
            continue
        times = event.num_releases if isinstance(event, ReleasesLost) else 1
        is_on_grid = seen_grid if isinstance(event, ReleasesLost) else _is_on_grid(event, rounds)
        seen_grid = seen_grid or is_on_grid
        noised += times
        floating += 0 if is_on_grid else times
    return floating, noised


def _is_on_grid(event: SumReleased, rounds: Mapping[str, RoundFacts]) -> bool:
    if isinstance(event, CorrelatedSumReleased | DistributedSumReleased):
        return True
    facts = rounds.get(event.round_id)
    return facts is not None and event.l2_clip_norm > facts.l2_sensitivity


def _kind(event: LedgerEvent, rounds: Mapping[str, RoundFacts]) -> ReleaseKind:
    match event:
        case ReleasesLost():
            return "lost"
        case ClippingQuantileReleased():
            return "clipping_quantile"
        case FederatedMetricsReleased():
            return "metrics"
        case VotesReleased():
            return "discovery"
        case _:
            facts = rounds.get(event.round_id)
            return "evaluation" if facts is not None and facts.kind == "evaluation" else "model"


def _released(kind: ReleaseKind, events: Sequence[LedgerEvent]) -> Released:
    metrics = (name for event in events if isinstance(event, FederatedMetricsReleased) for name in event.metrics)
    noises = [_count_only(event) if kind == "clipping_quantile" else event for event in events]
    return Released(
        kind=kind,
        times=sum(event.num_releases if isinstance(event, ReleasesLost) else 1 for event in events),
        noise_multiplier=min(noise.noise_multiplier for noise in noises),
        l2_clip_norm=max(noise.l2_clip_norm for noise in noises),
        metrics=tuple(dict.fromkeys(metrics)),
    )


def _count_only(event: LedgerEvent) -> LedgerEvent | _Noise:
    """Of a sum that has a count in it: the noise on the count, of which one device moves 1/2."""
    if isinstance(event, AdaptiveSumReleased):
        return _Noise(noise_multiplier=2 * event.count_noise, l2_clip_norm=0.5)
    return event


def _stream(steps: Sequence[CorrelatedSumReleased], rounds: Mapping[str, RoundFacts]) -> Stream:
    """What was observed counts over all steps, as in `charges`: most reports, closest together, least noise."""
    largest_norm = max(step.l2_clip_norm for step in steps)
    participations = max(step.stream_participations for step in steps)
    separation = min((step.min_separation for step in steps if step.stream_participations > 1), default=None)
    facts = rounds.get(steps[0].round_id)
    return Stream(
        task_id=steps[0].task_id,
        mechanism=steps[0].mechanism,
        rounds=len(steps),
        noise_multiplier=min(step.noise_multiplier * (step.l2_clip_norm / largest_norm) for step in steps),
        sensitivity=sensitivity(
            steps[0].mechanism,
            rounds=len(steps),
            min_separation=separation or 1,
            max_participations=participations,
        ),
        max_participations=participations,
        min_separation=separation,
        participation_limit=facts.participation_limit or None if facts else None,
        separation_limit=facts.separation_rounds if facts else 1,
    )
