"""The ledger's events: everything released that was computed from device data, each an immutable value.

An event is committed before what it describes is released. An event of an unknown kind is refused, never free.

In every event `l2_clip_norm` is how far one device moves what was released at most, in L2 norm and rounding included,
and `noise_multiplier` the noise's standard deviation in that unit. `max_participations` counts, over the devices of the
population, the reports accepted so far, this round's included.
"""

from fractions import Fraction
from typing import Annotated

import msgspec

from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.privacy.shares import SumOfShares
from protocol.discrete_gaussian import MAX_TERM
from protocol.messages import Identifier

# Far above what any plan may say, and far below where float64 would lose a count or square a number to infinity.
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
NoiseMultiplier = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Norm = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Term = Annotated[int, msgspec.Meta(ge=1, le=MAX_TERM)]
MetricName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]


class UnknownEvent(Exception):
    """A ledger row that this version cannot read; accounting must stop, for what it cost is not known."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every event shares: how far one device moved what was released, and the noise on it."""

    noise_multiplier: NoiseMultiplier
    l2_clip_norm: Norm


class _Release(_Event, frozen=True, kw_only=True):
    """What every event of a round says of it."""

    round_id: Identifier
    model_version: Number
    num_reports: Count
    max_participations: Count


class GaussianSumReleased(_Release, frozen=True, kw_only=True, tag="gaussian_sum_released"):
    """A sum of clipped updates was released with fresh Gaussian noise on it.

    With `secure_aggregation`, where updates are rounded, `l2_clip_norm` is a little more than what they are clipped to.
    """

    secure_aggregation: bool = False


class AdaptiveSumReleased(GaussianSumReleased, frozen=True, kw_only=True, tag="adaptive_sum_released"):
    """A sum as before, of which one coordinate counts the devices within the clipping norm, to choose the next by.

    `l2_clip_norm` and `noise_multiplier` are of update and count together: what the count costs is in them.
    `update_clip_norm` is what updates alone were clipped to; `count_noise` the deviation of the noise on the count, in
    devices, of which one device moves it by 1/2, either way.
    """

    update_clip_norm: Norm
    count_noise: Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class VotesReleased(GaussianSumReleased, frozen=True, kw_only=True, tag="votes_released"):
    """A sum of votes was released, as before, in one level of a discovery of new words.

    A device is in at most one such sum a level: a round has one, and a device is in a round once.
    """

    discovery_id: Identifier
    level: Number
    num_candidates: Count


class CorrelatedSumReleased(_Release, frozen=True, kw_only=True, tag="correlated_sum_released"):
    """One step of a stream: a sum of clipped updates with noise that is correlated with that of the steps before.

    A stream is a task's steps 0, 1, 2, ...; a step 0 begins another, whose noise has nothing to do with the last one's.
    `stream_participations` and `min_separation` are what was observed in the stream so far, over all devices: the most
    reports of one, and the fewest steps from one report of a device to its next (1 as long as none has two).

    Raises:
      ValueError: so many participations so far apart do not fit in the steps so far, or are more than
        `max_participations`.

    """

    task_id: Count
    step: Number
    mechanism: Mechanism
    stream_participations: Count
    min_separation: Count
    secure_aggregation: bool = False

    def __post_init__(self) -> None:
        if self.stream_participations > self.max_participations:
            raise ValueError(
                f"stream_participations must be <= max_participations, {self.max_participations}, "
                f"got {self.stream_participations}"
            )
        # A separation that leaves room for fewer participations than were observed would make the sensitivity too low.
        earliest = (self.stream_participations - 1) * self.min_separation
        if earliest > self.step:
            raise ValueError(
                f"step must be >= {earliest} for {self.stream_participations} participations that are "
                f"{self.min_separation} apart, got {self.step}"
            )


class DistributedSumReleased(_Release, frozen=True, kw_only=True, tag="distributed_sum_released"):
    """A group's sum was opened to the service, with noise of which every device in it had added a share.

    Committed before the group's members are asked for what opens it. So a round has one for each of its groups, also
    for those that failed afterwards, and `num_reports` and `max_participations` count their members.

    `sigma_numerator / sigma_denominator` is the deviation of a share in integers; `num_shares` are counted on, of the
    `num_reports` in the sum; one device's integers add up to `squared_bound` at most when squared.

    Raises:
      ValueError: fewer reports than shares that are counted on, or a `noise_multiplier` above what shares make.

    """

    sigma_numerator: Term
    sigma_denominator: Term
    num_shares: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    squared_bound: Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]
    vector_length: Annotated[int, msgspec.Meta(ge=1, le=1 << 25)]

    def __post_init__(self) -> None:
        if self.num_reports < self.num_shares:
            raise ValueError(f"num_reports must be >= num_shares, {self.num_shares}, got {self.num_reports}")
        made = self.shares.gaussian_multiplier
        if self.noise_multiplier > made * (1 + 1e-12):  # another machine's square root may end otherwise
            raise ValueError(f"noise_multiplier must be <= {made}, which the shares make, got {self.noise_multiplier}")

    @property
    def shares(self) -> SumOfShares:
        """The sum, as its guarantee has it."""
        return SumOfShares(
            sigma=Fraction(self.sigma_numerator, self.sigma_denominator),
            num_shares=self.num_shares,
            squared_bound=self.squared_bound,
            vector_length=self.vector_length,
        )

    @property
    def secure_aggregation(self) -> bool:
        """A share of noise hides too little to be sent by itself."""
        return True


class ClippingQuantileReleased(_Release, frozen=True, kw_only=True, tag="clipping_quantile_released"):
    """How many devices were within the clipping norm was released by itself, with noise of its own.

    Rounds do not write it: their count is in the sum, as `AdaptiveSumReleased`, and so is its cost.

    One device moves the count by 1/2, where its bit is written as -1/2 or 1/2 (1905.03871, section 3).
    """


class FederatedMetricsReleased(_Release, frozen=True, kw_only=True, tag="federated_metrics_released"):
    """Sums over devices of what they measured were released, as one vector with Gaussian noise on it."""

    metrics: Annotated[tuple[MetricName, ...], msgspec.Meta(min_length=1, max_length=1024)]


class ReleasesLost(_Event, frozen=True, kw_only=True, tag="releases_lost"):
    """The books went back to a backup, and sums that were released after it are not in them.

    Who took part in those is lost too, so every device is charged for all of them. Fewer than `num_releases` may have
    been released, and with more noise, but not the other way round; `noise_multiplier` is that of all that one round
    released, taken together. `after_round` is the number of the last round that the books still know, 0 if they know
    none. `mechanism` is what made the noise; a stream that it was lost from must begin anew.
    """

    num_releases: Count
    after_round: Number
    mechanism: Mechanism = Independent()


SumReleased = GaussianSumReleased | AdaptiveSumReleased | VotesReleased | CorrelatedSumReleased | DistributedSumReleased
"""A sum of what devices reported, by whatever noise."""

RoundEvent = SumReleased | ClippingQuantileReleased | FederatedMetricsReleased
"""What a round released."""

LedgerEvent = RoundEvent | ReleasesLost
"""Any event; other mechanisms join the union."""


def encode_event(event: LedgerEvent) -> str:
    """Writes an event as one line of JSON, the same for the same event.

    Raises:
      UnknownEvent: it could not be read again, such as for a value that is NaN, infinite or out of its bound.

    """
    text = msgspec.json.encode(event, order="deterministic").decode()
    decode_event(text)
    return text


def decode_event(text: str) -> LedgerEvent:
    """Reads an event.

    Raises:
      UnknownEvent: of an unknown kind, incomplete, or with a value out of its bound.

    """
    try:
        event: LedgerEvent = msgspec.json.decode(text, type=LedgerEvent)
    except msgspec.DecodeError as error:
        raise UnknownEvent(f"a ledger event cannot be read: {error}") from None
    return event
