"""Who takes part in a rehearsal, in which round, and who attacks: all by seeded hashes."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from evaluation.corpus import Message, clean
from evaluation.rehearsal.settings import RehearsalSettings
from evaluation.split import position, split_by_time, split_senders

MIN_MESSAGES = 20


@dataclass(frozen=True, kw_only=True)
class People:
    """Texts by role; never part of a `repr`.

    Attributes:
      donors: texts that pre-train the network.
      training: earlier texts of each device's person, as in the demo.
      held_out: texts of people who never train.

    """

    donors: list[str] = field(repr=False)
    training: dict[str, list[str]] = field(repr=False)
    held_out: dict[str, list[str]] = field(repr=False)


def gather_people(messages: Iterable[Message], settings: RehearsalSettings) -> People:
    """Gives each sender of `messages` a role, as the demo does."""
    kept = clean(messages, max_per_user=settings.max_messages, min_per_user=MIN_MESSAGES).messages
    shares = {"donor_share": settings.donor_share, "held_out_share": settings.held_out_share}
    senders = split_senders(kept, seed=settings.seed, **shares)
    return People(
        donors=[text for sender in senders.donors for text in _texts(kept[sender])],
        training={sender: _texts(split_by_time(kept[sender])[0]) for sender in senders.devices},
        held_out={sender: _texts(kept[sender]) for sender in senders.held_out},
    )


def draw_cohorts(devices: Sequence[str], settings: RehearsalSettings) -> list[list[str]]:
    """The cohort of each round of a rehearsal; see `cohorts_in_turn`.

    Raises:
      ValueError: there are fewer devices than a cohort has.

    """
    return list(islice(cohorts_in_turn(devices, settings.cohort, settings.seed), settings.rounds))


def cohorts_in_turn(devices: Sequence[str], cohort: int, seed: int) -> Iterator[list[str]]:
    """One cohort after the other: nobody comes again before all others had a turn, as far as cohorts are full.

    Raises:
      ValueError: there are fewer devices than a cohort has.

    """
    if len(devices) < cohort:
        raise ValueError(f"there must be at least {cohort} devices for a cohort, got {len(devices)}")
    waiting: list[str] = []
    for number in count():
        if len(waiting) < cohort:
            waiting = _shuffled(devices, draw_seed(seed, "turn", number))
        yield waiting[:cohort]
        waiting = waiting[cohort:]


def draw_attackers(devices: Iterable[str], settings: RehearsalSettings) -> frozenset[str]:
    """Those devices that attack: exactly the nearest number to the share asked for."""
    shuffled = _shuffled(devices, draw_seed(settings.seed, "attackers"))
    return frozenset(shuffled[: round(settings.attackers * len(shuffled))])


def draw_seed(seed: int, *parts: object) -> int:
    """A number in [0, 2^48) that hangs on all arguments."""
    digest = hashlib.sha256("\n".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _shuffled(users: Iterable[str], seed: int) -> list[str]:
    return sorted(users, key=lambda user: position(user, seed))


def _texts(messages: Sequence[Message]) -> list[str]:
    return [message.text for message in messages]
