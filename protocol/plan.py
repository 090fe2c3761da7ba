"""The plan of a round: what a device shall do, frozen before the first device has it.

What changes privacy (`PrivacyParameters`) stands apart from what changes only learning (`TrainingParameters`).
"""

import math
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from protocol.arrays import FloatArray
from protocol.clipping import Clipped
from protocol.clipping_bit import coordinate_per_device, joint_norm, with_bit
from protocol.decoding import decode_json
from protocol.discovery.ballot import Ballot
from protocol.discovery.votes import VoteCodec
from protocol.distributed_noise import NoiseTarget, SharedNoise, least_honest_survivors, shared_noise
from protocol.errors import MalformedMessage
from protocol.lanes import MAX_VALUE_BITS, MIN_VALUE_BITS
from protocol.quantisation import Quantiser

MAX_PLAN_BYTES = 64 * 1024
MAX_WORDS_A_STEP = 16 * 1024
"""Bounds the memory of a training step: 10,000 float32 logits for each of this many words are 655 MB."""

NUM_EVALUATION_SUMS = 7
"""Length of what a device reports in an evaluation round: see `protocol.evaluation`."""

PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name and shape of one float32 weight tensor, as in the training graph's signatures."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
    shape: Annotated[tuple[PositiveInt, ...], msgspec.Meta(min_length=1, max_length=4)]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class TrainingParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the device trains. The bounds are the device's: a plan beyond them is refused, whoever signed it."""

    batch_size: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    sequence_length: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    local_epochs: Annotated[int, msgspec.Meta(ge=1, le=20)]
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=100)]
    max_words: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    """Newest words of the log to train on: bounds a device's work, not its privacy."""

    def __post_init__(self) -> None:
        words = self.batch_size * self.sequence_length
        if words > MAX_WORDS_A_STEP:
            raise ValueError(f"batch_size * sequence_length must be <= {MAX_WORDS_A_STEP}, got {words}")


class PrivacyPromise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all that a population ever releases costs a device at most, as long as every round it is in promises it.

    The service writes its population's budget here. As an owner's wish it is the weakest promise to be accepted.
    """

    max_epsilon: Annotated[float, msgspec.Meta(gt=0, le=1_000)]
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)]

    def is_within(self, weakest: "PrivacyPromise") -> bool:
        """Whether who wants `weakest` at least has it by this one: neither epsilon nor delta is larger."""
        return self.max_epsilon <= weakest.max_epsilon and self.delta <= weakest.delta


class PrivacyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the device's owner may care about. A device believes the signer that the service keeps to them."""

    l2_clip_norm: Annotated[float, msgspec.Meta(gt=0, le=1_000)]
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0, le=10_000)]
    """Standard deviation of the noise on the sum, as a multiple of `report_norm`."""
    report_goal: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    minimum_separation_s: Annotated[float, msgspec.Meta(ge=0, le=366 * 24 * 3600)]
    promise: PrivacyPromise | None = None
    """None: no bound. Then it is not written, so that plans from before there were promises keep their hash."""
    noise_by: Literal["service", "devices"] = "service"
    """Who adds the noise. Devices do it in shares, before they mask; `noise_multiplier` is then of each group's sum."""
    count_noise: Annotated[float, msgspec.Meta(gt=0, le=10_000_000)] | None = None
    """Of adaptive clipping: standard deviation of the noise on how many devices are within `l2_clip_norm`, in devices.
    A device then reports one coordinate more: see `protocol.clipping_bit`. None: clipping does not adapt."""

    def __post_init__(self) -> None:
        if self.noise_by == "devices" and self.count_noise is not None:
            raise ValueError("noise_by must be service for adaptive clipping, got devices")
        _ = self.report_norm  # refuses a count whose noise alone would cost more than all noise may

    @property
    def report_norm(self) -> float:
        """The norm of the longest report: `l2_clip_norm`, or that of an update with its bit."""
        if self.count_noise is None:
            return self.l2_clip_norm
        return joint_norm(self.l2_clip_norm, self.noise_multiplier, self.count_noise)

    @property
    def bit_per_device(self) -> float:
        """Of adaptive clipping: what a device's bit is a half of, either way, in units of weight change; else 0."""
        if self.count_noise is None:
            return 0.0
        return coordinate_per_device(self.l2_clip_norm, self.noise_multiplier, self.count_noise)

    def report(self, clipped: Clipped) -> FloatArray:
        """Device: what it reports of an update that was clipped to `l2_clip_norm`: that, and its bit if it counts."""
        if self.count_noise is None:
            return clipped.update
        return with_bit(clipped, self.l2_clip_norm, self.noise_multiplier, self.count_noise)


class SecureAggregationParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How updates are summed without anybody seeing one; devices refuse groups that do not keep to this."""

    value_bits: Annotated[int, msgspec.Meta(ge=MIN_VALUE_BITS, le=MAX_VALUE_BITS)]
    """Sums are modulo 2^value_bits: 12 for 128 members of a full-size model, 16 for 1,000; 32 for short vectors."""
    min_members: Annotated[int, msgspec.Meta(ge=2, le=4096)]
    """Fewest devices whose updates may be summed: a sum of one would be that one's update."""
    max_members: Annotated[int, msgspec.Meta(ge=2, le=4096)]
    """Of one group; larger cohorts are several, whose sums are added in the clear."""
    adversary_fraction: Annotated[float, msgspec.Meta(ge=0, lt=0.5)] = 0.05
    """Of a group's members, who may side with the service."""
    dropout_fraction: Annotated[float, msgspec.Meta(ge=0, lt=0.5)] = 0.1
    """Of a group's members, who may drop out; with more the group ends and nobody learns anything of its updates."""
    mode: Literal["semi_honest", "semi_malicious", "malicious"] = "malicious"
    """What is feared of the service: see `protocol.secure_aggregation.sizing`."""

    def __post_init__(self) -> None:
        if self.min_members > self.max_members:
            raise ValueError(f"min_members must be <= max_members, {self.max_members}, got {self.min_members}")


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a round but the files: those are named by the manifest that also names this plan."""

    format_version: Literal[1] = 1
    kind: Literal["training", "evaluation", "discovery"] = "training"
    """An evaluation reports hits and counts of the round's checkpoint; a discovery votes for words that the vocabulary
    does not have. Neither trains."""
    tensors: Annotated[tuple[TensorSpec, ...], msgspec.Meta(min_length=1, max_length=256)]
    training: TrainingParameters
    privacy: PrivacyParameters
    update_format: Literal["float32", "int16"] = "float32"
    """How plain reports are written: see `protocol.update`."""
    secure_aggregation: SecureAggregationParameters | None = None
    """None: reports are plain, and the service sees each one."""
    discovery: Ballot | msgspec.UnsetType = msgspec.UNSET
    """What a discovery votes on. Of other plans it is not written, so that those from before keep their hash."""

    def __post_init__(self) -> None:
        self._check_discovery()
        _ = self.quantiser, self.vote_codec  # refuse too few bits for so many members
        if self.kind == "evaluation" and self.privacy.count_noise is not None:
            raise ValueError("an evaluation must have no count_noise: its clipping does not adapt")
        names = [spec.name for spec in self.tensors]
        if len(set(names)) != len(names):
            raise ValueError("tensor names must differ")

    @property
    def num_weights(self) -> int:
        """The elements of all tensors, in the plan's order."""
        return sum(spec.size for spec in self.tensors)

    @property
    def update_size(self) -> int:
        """Length of the vector that a device reports."""
        if self.kind == "evaluation":
            return NUM_EVALUATION_SUMS
        if self.ballot is not None:
            return self.ballot.num_candidates
        return self.num_weights + (self.privacy.count_noise is not None)

    @property
    def ballot(self) -> Ballot | None:
        """What a discovery votes on; None of other plans."""
        return None if self.discovery is msgspec.UNSET else self.discovery

    @property
    def vote_codec(self) -> VoteCodec | None:
        """How a discovery's votes become integers; None of other plans, and where they are reported plain."""
        secure, ballot = self.secure_aggregation, self.ballot
        if secure is None or ballot is None:
            return None
        return VoteCodec(
            value_bits=secure.value_bits,
            max_cohort=secure.max_members,
            vector_length=ballot.num_candidates,
            max_words=ballot.parameters.max_words,
        )

    @property
    def quantiser(self) -> Quantiser | None:
        """How updates become integers; None where they are reported plain, or are votes, which are integers."""
        secure = self.secure_aggregation
        if (shared := self.shared_noise) is not None:
            return shared.quantiser
        if secure is None or self.ballot is not None:
            return None
        return Quantiser(
            l2_clip_norm=self.privacy.report_norm,
            value_bits=secure.value_bits,
            max_cohort=secure.max_members,
            vector_length=self.update_size,
        )

    @property
    def shared_noise(self) -> SharedNoise | None:
        """What the devices of a group add noise by; None where the service adds it.

        Raises:
          ValueError: devices cannot make such noise in this plan; no plan that was made lets that happen.

        """
        secure, privacy = self.secure_aggregation, self.privacy
        if privacy.noise_by == "service":
            return None
        if secure is None:
            raise ValueError("secure_aggregation must be there for noise by devices: a share alone hides too little")
        if secure.mode != "malicious":
            raise ValueError(f"mode must be malicious for noise by devices, which trusts no service, got {secure.mode}")
        return _shared_noise(secure, privacy.noise_multiplier, privacy.report_norm, self.update_size)

    @property
    def l2_sensitivity(self) -> float:
        """How far one device moves the sum in L2 norm at most: its report's norm, or a little more after rounding."""
        return self.privacy.report_norm if self.quantiser is None else self.quantiser.l2_bound

    def _check_discovery(self) -> None:
        """A discovery has a ballot, and noise that the service adds: without any, what people type would come out."""
        ballot, privacy = self.ballot, self.privacy
        if (ballot is not None) != (self.kind == "discovery"):
            raise ValueError("discovery must be there in the plan of a discovery, and in no other")
        if ballot is None:
            return
        if privacy.noise_multiplier == 0:
            raise ValueError("noise_multiplier must be > 0 for a discovery, got 0")
        if privacy.noise_by != "service" or privacy.count_noise is not None:
            raise ValueError("a discovery must have noise by the service and no count_noise")
        if privacy.l2_clip_norm != ballot.parameters.vote_norm:
            norm = ballot.parameters.vote_norm
            raise ValueError(
                f"l2_clip_norm must be sqrt(max_words), {norm}, for a discovery, got {privacy.l2_clip_norm}"
            )
        if self.update_format != "float32":
            raise ValueError(f"update_format must be float32 for a discovery, got {self.update_format}")


def noise_target(secure: SecureAggregationParameters, noise_multiplier: float, vector_length: int) -> NoiseTarget:
    """How much noise devices make in such groups: each group by itself, as the service sees each group's sum.

    Raises:
      ValueError: no noise, or groups that may have no honest member left.

    """
    honest = least_honest_survivors(
        secure.min_members,
        secure.max_members,
        adversary_fraction=secure.adversary_fraction,
        dropout_fraction=secure.dropout_fraction,
    )
    return NoiseTarget(
        noise_multiplier=noise_multiplier,
        max_cohort=secure.max_members,
        num_honest=honest,
        vector_length=vector_length,
    )


@lru_cache(maxsize=64)
def _shared_noise(
    secure: SecureAggregationParameters, noise_multiplier: float, report_norm: float, vector_length: int
) -> SharedNoise:
    target = noise_target(secure, noise_multiplier, vector_length)
    return shared_noise(target, l2_clip_norm=report_norm, value_bits=secure.value_bits)


def encode_plan(plan: Plan) -> bytes:
    """Service: the plan's bytes, the same for the same plan, so that a plan is named by its hash."""
    return msgspec.json.encode(plan, order="deterministic")


def decode_plan(payload: bytes) -> Plan:
    """Device: reads a plan and refuses absurd ones.

    Raises:
      MalformedMessage: not a plan, or a parameter that is negative, not finite, or beyond its bound.

    """
    if len(payload) > MAX_PLAN_BYTES:
        raise MalformedMessage(f"a plan must have at most {MAX_PLAN_BYTES} bytes, got {len(payload)}")
    return decode_json(payload, Plan, "plan")
