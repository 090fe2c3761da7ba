"""What a step of the agent reports to whoever drives it: an event, a waiting time and numbers. Never typed text."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Event(enum.StrEnum):
    """What happened in one step."""

    WAITING = "waiting"
    """Nothing: a pause or the minimum separation is not over."""
    NOT_ELIGIBLE = "not_eligible"
    """Nothing: a condition does not hold."""
    NO_CONSENT = "no_consent"
    """The person has not switched the typing log on; an assignment, if there was one, was dropped."""
    NOTHING_TO_TRAIN = "nothing_to_train"
    """The log holds nothing to learn from."""
    ENROLLED = "enrolled"
    """The service took this device's key."""
    NOT_ENROLLED = "not_enrolled"
    """The service did not take this device's key, or does not know it any more; it is asked again."""
    REVOKED = "revoked"
    """The operator revoked this device's key; the service is asked again after a day."""
    TOLD_TO_WAIT = "told_to_wait"
    """Checked in; the service said: later."""
    SELECTED = "selected"
    """Checked in; the device is in a round's cohort."""
    CONFIGURED = "configured"
    """Downloaded and verified the round's files."""
    TRAINED = "trained"
    """Trained; the clipped update is in the spool."""
    EVALUATED = "evaluated"
    """Counted two models' hits; the clipped sums are in the spool."""
    VOTED = "voted"
    """Voted for beginnings of its words in a discovery of new ones; the votes are in the spool."""
    ADVERTISED = "advertised"
    """Sent the keys of a session of secure aggregation."""
    AWAITING_GROUP = "awaiting_group"
    """Others of the session are waited for; the service is asked again."""
    SHARED = "shared"
    """Left shares of the session's secrets with other devices, sealed."""
    MASKED = "masked"
    """Uploaded the masked update; by itself it tells nothing."""
    CONFIRMED = "confirmed"
    """Signed whose masked updates the sum holds."""
    GROUP_ENDED = "group_ended"
    """The session went on without this device, or ended, and nobody learns anything of its update; the assignment was
    dropped."""
    REPORTED = "reported"
    """Uploaded the update; the service acknowledged it. With secure aggregation: the device's part in it is done."""
    INTERRUPTED = "interrupted"
    """A condition ended, or the process is to end. A training run is then dropped if a condition ended; transfers, and
    everything that the end of the process cuts short, are taken up again until the round's deadline."""
    EXPIRED = "expired"
    """The round's deadline passed; the assignment was dropped."""
    REFUSED = "refused"
    """The device refused what the service sent; the assignment, if any, was dropped."""
    REJECTED = "rejected"
    """The service refused what the device sent; the assignment, if any, was dropped."""
    UNAVAILABLE = "unavailable"
    """The service could not be reached; the same is tried again."""
    RELEASE_ADOPTED = "release_adopted"
    """A new release suggests from now on."""
    RELEASE_KEPT = "release_kept"
    """A new release was looked for; the present one stays."""
    FAILED = "failed"
    """The device's own disk refused; the same is tried again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one step.

    Attributes:
      event: what happened.
      next_step_in_s: when the next step makes sense, in seconds from now.
      reason: a sentence for the program's log, empty where the event says it all.
      numbers: of a training run: `steps`, `num_targets`, `first_loss`, `last_loss`, `update_norm`, `was_clipped`; of an
        evaluation: the second and the last two; of a vote: `level`, `levels`, `votes`; of a plan with
        a promise: `promised_epsilon`, `promised_delta`.
      bytes_up: sent in this step.
      bytes_down: received in this step.
      model_version: of the round's model, in steps that have one.

    """

    event: Event
    next_step_in_s: float = 0.0
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    model_version: int | None = None


def describe(outcome: Outcome) -> str:
    """One line for the program's log: the event, why, and numbers.

    >>> describe(Outcome(event=Event.TRAINED, numbers={"steps": 3, "last_loss": 4.5}, bytes_down=10))
    'trained steps=3 last_loss=4.5 bytes_down=10'
    """
    numbers = dict(outcome.numbers) | {"bytes_up": outcome.bytes_up, "bytes_down": outcome.bytes_down}
    shown = [f"{name}={value:g}" for name, value in numbers.items() if value]
    waits = [f"next_in={outcome.next_step_in_s:.0f}s"] if outcome.next_step_in_s else []
    reason = [f"({' '.join(outcome.reason.split())})"] if outcome.reason else []
    return " ".join([outcome.event.value, *reason, *shown, *waits])
