"""What may happen to a connection between a device and the service, drawn by a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_MOST_REQUEST_BYTES = 2**20
_MOST_ANSWER_BYTES = 2**14
"""Cuts are drawn by their logarithm up to here, so that short messages meet them as well as long ones."""


class Fault(StrEnum):
    """What a device's network does to it."""

    REFUSED = "refused"
    """The connection is reset as soon as it is made."""
    CUT_REQUEST = "request cut"
    """The service gets the beginning of what the device says, and both lose the connection."""
    CUT_ANSWER = "answer cut"
    """The device gets the beginning of an answer, or nothing, though the service has done what it was asked."""
    SLOWED = "slowed"
    """Each piece waits before it goes on."""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What one connection meets.

    Attributes:
      fault: None for nothing.
      after_bytes: of a cut, so many bytes of that direction come through.
      pause_s: of a slow connection, in seconds before each piece.

    """

    fault: Fault | None = None
    after_bytes: int = 0
    pause_s: float = 0.0


UNHARMED = Fate()


def draw_fates(seed: int, share: float) -> Iterator[Fate]:
    """The fates of all connections, in the order in which they are made.

    Args:
      seed: the same one gives the same fates.
      share: in [0, 1], of connections that meet a fault, each kind as often as every other.

    """
    generator = random.Random(f"{seed} connections")  # noqa: S311  # draws faults, guards nothing
    while True:
        is_harmed, fault = generator.random() < share, generator.choice(list(Fault))
        most = _MOST_REQUEST_BYTES if fault is Fault.CUT_REQUEST else _MOST_ANSWER_BYTES
        after_bytes, pause_s = int(most ** generator.random()) - 1, generator.uniform(0.005, 0.05)
        yield Fate(fault=fault, after_bytes=after_bytes, pause_s=pause_s) if is_harmed else UNHARMED
