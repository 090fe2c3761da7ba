"""The set of survivors, whose sum is unmasked: one bit a member, and what both sides demand of it."""

from collections.abc import Collection, Sequence

import numpy as np

from protocol.errors import MalformedMessage
from protocol.secure_aggregation.errors import WrongSurvivors


def to_bitmap(members: Collection[int], num_members: int) -> bytes:
    """Service: member i is bit i, counted from the lowest bit of the first byte."""
    bits = sum(1 << member for member in set(members))
    return bits.to_bytes((num_members + 7) // 8, "little")


def from_bitmap(bitmap: bytes, num_members: int) -> frozenset[int]:
    """Device: the members of a bitmap.

    Raises:
      MalformedMessage: another length, or bits of others than members.

    """
    expected = (num_members + 7) // 8
    if len(bitmap) != expected:
        raise MalformedMessage(f"a bitmap of {num_members} members must be {expected} bytes, got {len(bitmap)}")
    if int.from_bytes(bitmap, "little") >> num_members:
        raise MalformedMessage(f"a bitmap must name members below {num_members} only")
    members = np.flatnonzero(np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little"))
    return frozenset(members.tolist())


def require_one_sum(survivors: Collection[int], order: Sequence[int], degree: int, least: int) -> None:
    """Both sides: refuses survivors whose unmasking would tell more than one sum of enough members.

    Masks cancel along the edges of the graph, so survivors that fall into parts without an edge between them would
    have one sum for each part. On the ring, members whose places are at most degree / 2 apart are neighbours: the
    survivors hang together unless two runs of dropped members are each too long to be bridged.

    Args:
      survivors: indices.
      order: of the ring, `graph.ring_order`.
      degree: of the graph.
      least: fewest members whose sum may be known.

    Raises:
      WrongSurvivors: fewer than `least`, or in several parts.

    Source: Bell et al. 2020, eprint 2020/704, section 3 (the survivors' graph must be connected).

    """
    least = max(1, least)
    if len(survivors) < least:
        raise WrongSurvivors(f"survivors must be >= {least}, got {len(survivors)}")
    if degree >= len(order) - 1:
        return  # everybody is everybody's neighbour
    places = [place for place, member in enumerate(order) if member in survivors]
    following = [*places[1:], places[0] + len(order)]
    breaks = sum(2 * (after - place) > degree for place, after in zip(places, following, strict=True))
    if breaks > 1:
        raise WrongSurvivors(f"survivors must hang together, got {breaks} parts")
