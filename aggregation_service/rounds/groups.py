"""A group of secure aggregation as a value: its stages, and who may say what at each of them.

A group walks through four stages, each of which waits for the members that came through the one before. What they send
and are told is `protocol.secure_aggregation`'s; nothing here looks into it.

| stage        | members send   | and were told before |
|--------------|----------------|----------------------|
| (none yet)   | `keys`         |                      |
| `sharing`    | `shares`       | `roster`             |
| `masking`    | `masked-input` | `delivery`           |
| `confirming` | `confirmation` | `survivors`          |
| `unmasking`  | `unmasking`    | `confirmations`      |
"""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where a group stands, in this order."""

    SHARING = "sharing"
    MASKING = "masking"
    CONFIRMING = "confirming"
    UNMASKING = "unmasking"
    DONE = "done"
    FAILED = "failed"


STAGES_UNDER_WAY = (Stage.SHARING, Stage.MASKING, Stage.CONFIRMING, Stage.UNMASKING)
"""In which a group waits for its members."""

SENT_AT = {
    "shares": Stage.SHARING,
    "masked-input": Stage.MASKING,
    "confirmation": Stage.CONFIRMING,
    "unmasking": Stage.UNMASKING,
}
"""At which stage each message of a member is taken."""

TOLD_AT = {
    "roster": Stage.SHARING,
    "delivery": Stage.MASKING,
    "survivors": Stage.CONFIRMING,
    "confirmations": Stage.UNMASKING,
}
"""From which stage on members are told each message."""


class GroupFailure(StrEnum):
    """Why a group ended without a sum, of which nothing is known then; told to operators."""

    TOO_FEW = "too_few"  # came under the threshold, or gave too few right shares
    NORM = "norm"  # the sum is longer than honest members' can be
    ROUND_OVER = "round_over"
    BUDGET_SPENT = "budget_spent"  # where devices make the noise, a sum that costs too much is not opened
    KEY_LOST = "key_lost"  # who led the round is gone, and with it the key of the masked sums
    BROKEN = "broken"  # sums and books disagree, or the service failed


@dataclass(frozen=True, slots=True)
class Failed:
    """A group that has no sum, and why; `detail` is for operators."""

    because: GroupFailure
    detail: str


class Turn(StrEnum):
    """Whether it is a member's turn."""

    NOW = "now"
    LATER = "later"  # others are waited for
    NOT_YET = "not_yet"  # the member itself has not sent what comes before
    OVER = "over"  # the member is not in the group any more, or the group has ended


def turn_to_send(stage: Stage, wanted: Stage, *, takes_part: bool) -> Turn:
    """Whether a member may send the message of stage `wanted`.

    Args:
      stage: of its group.
      wanted: at which its message is taken.
      takes_part: whether it came through all stages before `stage`.

    """
    if stage not in STAGES_UNDER_WAY or not takes_part or is_past(stage, wanted):
        return Turn.OVER
    return Turn.NOW if stage is wanted else Turn.NOT_YET


def turn_to_be_told(stage: Stage, wanted: Stage, *, takes_part: bool, has_answered: bool) -> Turn:
    """Whether a member may be told the message of stage `wanted`.

    Args:
      stage: of its group.
      wanted: from which on the message is told.
      takes_part: whether it came through all stages before `stage`.
      has_answered: whether its own message of the stage before `wanted` is there.

    """
    if stage not in STAGES_UNDER_WAY or not takes_part:
        return Turn.OVER
    if stage is wanted or is_past(stage, wanted):
        return Turn.NOW
    return Turn.LATER if has_answered else Turn.NOT_YET


def is_past(stage: Stage, wanted: Stage) -> bool:
    """Whether a group at `stage` has `wanted` behind it."""
    order = list(Stage)
    return order.index(stage) > order.index(wanted)


def stage_before(stage: Stage) -> Stage | None:
    """The stage before this one, None of the first."""
    place = STAGES_UNDER_WAY.index(stage)
    return STAGES_UNDER_WAY[place - 1] if place else None
