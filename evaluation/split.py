"""Who is a donor, who a device, who is held out: decided by a seeded hash, so that no list has to be kept."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

_Item = TypeVar("_Item")


class Senders(NamedTuple):
    """Senders by role, each in sorted order.

    Attributes:
      donors: their text is treated as public: vocabulary and pre-training use it.
      devices: each becomes one device.
      held_out: never trained on.

    """

    donors: list[str]
    devices: list[str]
    held_out: list[str]


def position(user: str, seed: int) -> float:
    """Where the hash of `seed` and `user` lies in [0, 1): uniform, and independent of who else is in the corpus."""
    digest = hashlib.sha256(f"{seed}\n{user}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_senders(users: Iterable[str], *, seed: int, donor_share: float = 0.2, held_out_share: float = 0.2) -> Senders:
    """Gives each sender a role.

    Args:
      users: names of senders, in any order; the answer does not depend on it.
      seed: another seed, another split.
      donor_share: expected share of donors, in [0, 1].
      held_out_share: expected share of held-out senders, in [0, 1]. The rest are devices.

    Guarantees:
      Each sender has one role. It depends on name, seed and shares alone: a sender joining moves nobody else.

    Raises:
      ValueError: shares that are negative or above 1 together.

    """
    if not (donor_share >= 0 and held_out_share >= 0 and donor_share + held_out_share <= 1):
        raise ValueError(f"donor_share + held_out_share must be in [0, 1], got {donor_share} + {held_out_share}")
    senders = Senders([], [], [])
    for user in sorted(set(users)):
        place = position(user, seed)
        if place < donor_share:
            senders.donors.append(user)
        elif place < 1 - held_out_share:
            senders.devices.append(user)
        else:
            senders.held_out.append(user)
    return senders


def split_by_time(messages: Sequence[_Item], test_share: float = 0.2) -> tuple[Sequence[_Item], Sequence[_Item]]:
    """Cuts one sender's messages into earlier ones to train on and the last ones to test with.

    Args:
      messages: by time, as `evaluation.corpus.clean` gives them.
      test_share: share of the last ones, in (0, 1), rounded to the nearest number of messages, at least one.

    Raises:
      ValueError: fewer than two messages, or `test_share` out of its bound.

    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be in (0, 1), got {test_share}")
    if len(messages) < 2:
        raise ValueError(f"a sender must have at least 2 messages to be split, got {len(messages)}")
    num_test = min(max(1, round(len(messages) * test_share)), len(messages) - 1)
    return messages[:-num_test], messages[-num_test:]
