"""What a rehearsal found, typed: `rehearsal.json` is these structs, and the page shows nothing else."""

import math
from pathlib import Path
from typing import Annotated

import msgspec

from device_runtime.storage.files import write_atomically
from evaluation.metrics import Accuracy, UserCounts, pool
from evaluation.report_schema import Count, Share

TWO_SIDED_95 = 1.96


class RoundOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round of an arm.

    Attributes:
      number: from 1.
      attackers: of its cohort.
      reports: updates in its sum.
      dropped_groups: of secure aggregation, for the norm of their sum.
      closed: whether it made a new checkpoint; one with too few reports is lost.
      top1: on the curve's set, with what would be released after this round.
      top3: likewise.
      loss: mean of the cohort's first losses, before training, in nats a target; None if none could train.

    """

    number: Annotated[int, msgspec.Meta(ge=1)]
    attackers: Count
    reports: Count
    dropped_groups: Count
    closed: bool
    top1: Share
    top3: Share
    loss: float | None


class ArmOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One arm: one way to combine, under one attack or none.

    Attributes:
      name: unique within the rehearsal.
      way: how updates were combined.
      attack: what attackers did; None if all kept to the plan.
      by_user: sums of each held-out person, at the end, in the same order in all arms of a rehearsal.
      backdoor_success: share of contexts in which the attackers' word came first behind the trigger, at the end.
      rounds: in order.
      seconds: wall time.

    """

    name: str
    way: str
    attack: str | None
    by_user: tuple[UserCounts, ...]
    backdoor_success: Share
    rounds: tuple[RoundOutcome, ...]
    seconds: float

    @property
    def accuracy(self) -> Accuracy:
        """At the end, over all held-out people."""
        return pool(self.by_user)

    @property
    def lost_rounds(self) -> int:
        """Rounds without a new checkpoint."""
        return sum(not row.closed for row in self.rounds)

    @property
    def dropped_groups(self) -> int:
        """Groups whose sums were refused, in all rounds."""
        return sum(row.dropped_groups for row in self.rounds)


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Top-1 recall of one arm less that of another, on the same words of the same people, in points (1 = 0.01).

    Attributes:
      points: the difference.
      standard_error: over people, who are what was drawn at random; training's own randomness is not in it.

    """

    points: float
    standard_error: float

    @property
    def margin(self) -> float:
        """Half the width of the 95 % interval."""
        return TWO_SIDED_95 * self.standard_error


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An arm beside the one that it is held against."""

    arm: str
    against: str
    top1: Difference


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole rehearsal.

    Attributes:
      format_version: of this schema.
      name: `codec` or `poisoning`.
      size: of the network, `small` or `full`.
      seed: with it, what can be the same is.
      cohort: devices of a round.
      devices: in all.
      attackers: of all devices, in arms with an attack.
      trigger: of the backdoor.
      word: that the backdoor is to call for.
      pretrained: accuracy before the first round.
      pretrained_curve_top1: likewise, on the curve's set.
      num_curve_targets: words of that set.
      arms: in the order in which they ran.
      comparisons: in the order of the arms.
      software: version by package.

    """

    format_version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    name: str
    size: str
    seed: int
    cohort: Count
    devices: Count
    attackers: Count
    trigger: str
    word: str
    pretrained: Accuracy
    pretrained_curve_top1: Share
    num_curve_targets: Count
    arms: Annotated[tuple[ArmOutcome, ...], msgspec.Meta(min_length=1)]
    comparisons: tuple[Comparison, ...]
    software: dict[str, str]

    def arm(self, name: str) -> ArmOutcome:
        """The arm of that name.

        Raises:
          KeyError: there is none.

        """
        return {arm.name: arm for arm in self.arms}[name]


def difference(arm: ArmOutcome, against: ArmOutcome) -> Difference:
    """Compares two arms person by person.

    Source: Cochran 1977, "Sampling Techniques", section 2.11 (the variance of a ratio of two sums over clusters).

    Raises:
      ValueError: they were not asked the same words.

    """
    pairs = list(zip(arm.by_user, against.by_user, strict=True))
    if any(one.num_targets != other.num_targets for one, other in pairs):
        raise ValueError("arms must be asked the same words of the same people to be compared")
    gained = [one.top1_hits - other.top1_hits for one, other in pairs]
    asked = [one.num_targets for one, _ in pairs]
    ratio = sum(gained) / sum(asked)
    squares = sum((more - ratio * words) ** 2 for more, words in zip(gained, asked, strict=True))
    corrected = squares * len(pairs) / max(1, len(pairs) - 1)
    return Difference(points=100 * ratio, standard_error=100 * math.sqrt(corrected) / sum(asked))


def encode_rehearsal(rehearsal: Rehearsal) -> bytes:
    """Writes a rehearsal as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(rehearsal), indent=2) + b"\n"


class Kept:
    """Finished arms in a folder, so that none runs twice."""

    def __init__(self, folder: Path):
        """Takes the folder, which is made when the first arm is kept."""
        self._folder = folder

    def find(self, key: str) -> ArmOutcome | None:
        """The arm that was kept under `key`; None if there is none that can be read."""
        try:
            return msgspec.json.decode(self._path(key).read_bytes(), type=ArmOutcome)
        except (FileNotFoundError, msgspec.DecodeError):  # an earlier format: it runs again
            return None

    def keep(self, key: str, arm: ArmOutcome) -> None:
        """Keeps an arm, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(key), msgspec.json.encode(arm), durable=False)

    def _path(self, key: str) -> Path:
        return self._folder / f"arm-{key}.json"
