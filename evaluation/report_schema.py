"""What a report says, typed: `report.json` is these structs as JSON, and the page shows nothing else."""

from typing import Annotated

import msgspec

from evaluation.checked_json import decode_checked, encode_checked
from evaluation.metrics import Accuracy

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Epsilon = Annotated[float, msgspec.Meta(ge=0)] | None
"""None stands for no guarantee at all, for JSON has no infinity."""


class ByPredictor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same targets, asked of each predictor."""

    unigram: Accuracy
    pretrained: Accuracy
    federated: Accuracy


class AccuracySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accuracy on senders that never trained, and on the last messages of those that did."""

    held_out: ByPredictor
    devices: ByPredictor


class AtScale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the same noise on the average of a round would give in a production population."""

    cohort: Count
    population: Count
    rounds: Count
    epsilon: Epsilon
    delta: Share


class PrivacySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is promised to each device's owner.

    Attributes:
      epsilon: of the whole run, for one device's whole log.
      delta: the probability with which the promise may fail.
      mechanism: as the ledger names it.
      trust_mode: who must be trusted with what, in words.
      noise_multiplier: standard deviation of the noise on the sum, in units of `l2_clip_norm`.
      l2_clip_norm: C, in units of weight change.
      max_participations: the most rounds that any one device reported in.
      statement: all of this for people; see `evaluation.statement`.
      at_scale: the same noise with many more devices.

    """

    epsilon: Epsilon
    delta: Share
    mechanism: str
    trust_mode: str
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0)]
    l2_clip_norm: Annotated[float, msgspec.Meta(gt=0)]
    max_participations: Count
    statement: str
    at_scale: AtScale


class BytesSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean bytes on the wire of one device in one round."""

    up_per_device_round: Annotated[float, msgspec.Meta(ge=0)]
    down_per_device_round: Annotated[float, msgspec.Meta(ge=0)]


class Round(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One closed round.

    Attributes:
      number: from 1.
      selected: devices in the cohort.
      reported: devices whose update was counted.
      dropped: devices that vanished, or came too late.
      interrupted: devices that stopped because a condition ended.
      top1: on the curve's set of held-out messages with this round's checkpoint; None where it was not measured.
      top3: likewise.
      loss: mean loss before training over all training runs of the round, in nats a target; None where not known.
      epsilon: spent up to and with this round.
      seconds: wall time.

    """

    number: Annotated[int, msgspec.Meta(ge=1)]
    selected: Count
    reported: Count
    dropped: Count
    interrupted: Count
    top1: Share | None
    top3: Share | None
    loss: float | None
    epsilon: Epsilon
    seconds: Seconds


class CurveSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the points of `rounds` compare with: measured on the same, smaller set as they.

    Attributes:
      unigram_top1: of the word list.
      pretrained_top1: before the first round.
      num_targets: words of that set.

    """

    unigram_top1: Share
    pretrained_top1: Share
    num_targets: Count


class FleetSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Senders by role."""

    devices: Count
    donors: Count
    held_out: Count


class ModelSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network."""

    parameters: Count
    vocabulary_size: Count


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole run.

    Attributes:
      format_version: of this schema.
      name: of the run, such as `demo`.
      seed: with it and the same software, the split and the text are the same; noise never is.
      corpus: where the text is from, in words.
      accuracy: before and after.
      privacy: the promise and its price.
      bytes: traffic.
      rounds: in order.
      curve: what recall by round compares with.
      seconds: wall time by phase, in the order of the phases.
      fleet: how many senders.
      model: how large.
      software: version by package.

    """

    format_version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    name: str
    seed: int
    corpus: str
    accuracy: AccuracySection
    privacy: PrivacySection
    bytes: BytesSection
    rounds: Annotated[tuple[Round, ...], msgspec.Meta(min_length=1)]
    curve: CurveSection
    seconds: dict[str, Seconds]
    fleet: FleetSection
    model: ModelSection
    software: dict[str, str]


def encode_report(report: Report) -> bytes:
    """Writes a report as indented JSON.

    Raises:
      InvalidReport: a value is out of its bound, or not finite where None is not allowed.

    """
    return encode_checked(report, InvalidReport, "report")


def decode_report(payload: bytes) -> Report:
    """Reads `report.json`.

    Raises:
      InvalidReport: not a report of this format.

    """
    return decode_checked(payload, Report, InvalidReport, "report")


class InvalidReport(Exception):
    """A report with a value that its schema does not allow."""
