"""A group as the service stores it between requests, and the value that stands for one that failed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import msgspec

from protocol.secure_aggregation.graph import neighbourhoods, ring_order
from protocol.secure_aggregation.messages import MAX_MEMBERS, GroupParameters, KeyBundle, Message, session_id_of
from protocol.secure_aggregation.signing import Task


class Group(Message, frozen=True, kw_only=True, dict=True, tag="group"):
    """One run of the protocol, from its roster on; `messages.encode` and `decode` store and read it.

    Attributes:
      task: what it is for.
      parameters: its graph, threshold and vectors.
      least_survivors: fewest members of whom a sum may be known, as the devices demand.
      bundles: of its members, by ascending digest: a member's index is its place.

    """

    task: Task
    parameters: GroupParameters
    least_survivors: Annotated[int, msgspec.Meta(ge=1, le=MAX_MEMBERS)]
    bundles: tuple[KeyBundle, ...]

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """32 bytes for each bundle."""
        return tuple(bundle.digest() for bundle in self.bundles)

    @cached_property
    def session_id(self) -> bytes:
        """32 bytes that name this run."""
        return session_id_of(self.task, self.parameters, self.digests)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Of its ring."""
        return ring_order(self.session_id, len(self.bundles))

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """By index, the neighbours of each member, ascending."""
        return neighbourhoods(self.order, self.parameters.degree)

    def index_of(self, identity_key: bytes) -> int | None:
        """The index of the device with this key, None if it is no member."""
        return next((i for i, bundle in enumerate(self.bundles) if bundle.identity_key == identity_key), None)


@dataclass(frozen=True, slots=True)
class GroupFailed:
    """A group that ends in the open: nothing is learnt of its sum, and the round goes on without it."""

    reason: str
