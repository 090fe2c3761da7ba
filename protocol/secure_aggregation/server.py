"""The service's side of secure aggregation, stages 0 to 3: pure functions over plain data.

Nothing is kept here. Between two requests, which different processes may handle, a `Group` is stored encoded, sets of
members as bitmaps (`survivors.py`), and what `accept_...` returned as bytes by sender. A `PartialSum` belongs to one
process; those of several are merged. Who sent a message is known from the request's signature: `sender` is not hostile.

| stage | from each member                 | then, once                  | to each member                            |
|-------|----------------------------------|-----------------------------|-------------------------------------------|
| 0     | `accept_bundle`                  | `form_group`                | `roster_for`                              |
| 1     | `accept_shares`                  | `route_shares`              | `delivery_for`                            |
| 2     | `add_masked`                     | `merge_sums`, `survivors_of`| `survivor_list`                           |
| 3     | `accept_confirmation`            | `revealers_of`              | `confirmations_for`                       |
| 4     | `unmasking.accept_unmasking`     | `unmasking.unmask`          |                                           |
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from protocol.lanes import LaneArray, lane_dtype
from protocol.secure_aggregation.errors import WrongBundle, WrongSurvivors
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.masked_input import read_masked_input
from protocol.secure_aggregation.membership import require_distinct
from protocol.secure_aggregation.messages import (
    MAX_MEMBERS,
    Confirmation,
    Confirmations,
    DeliveredShares,
    EncryptedShares,
    GroupParameters,
    KeyBundle,
    Roster,
    SurvivorList,
    decode,
    encode,
    require_sender,
    split_bytes,
)
from protocol.secure_aggregation.shares import SEALED_BYTES
from protocol.secure_aggregation.signing import Task, confirms
from protocol.secure_aggregation.survivors import require_one_sum, to_bitmap


@dataclass(slots=True)
class PartialSum:
    """The masked inputs that one process has added, modulo 2^lane: all the memory that stage 2 needs.

    Attributes:
      lanes: [vector_length], of `lane_dtype(value_bits)`.
      members: whose inputs are in it.

    """

    lanes: LaneArray
    members: set[int]


def accept_bundle(payload: bytes, task: Task, identity_key: bytes) -> KeyBundle:
    """Stage 0: a device's bundle.

    Args:
      payload: a `KeyBundle`, hostile until checked.
      task: of the round that is being formed.
      identity_key: 32 bytes, the key that the sender enrolled.

    Raises:
      MalformedMessage: no bundle.
      WrongBundle: another device's, of another task, or badly signed.
      BadPoint: a key with which no secret can be agreed on.

    """
    bundle = decode(payload, KeyBundle)
    if bundle.identity_key != identity_key:
        raise WrongBundle("a bundle must be of the device that sends it")
    bundle.verify(task)
    return bundle


def form_group(
    task: Task, parameters: GroupParameters, least_survivors: int, bundles: Iterable[KeyBundle]
) -> Group | GroupFailed:
    """Stage 0: a group of these devices, in the order that everybody computes; it fails if they are too few for it.

    Raises:
      WrongBundle: two bundles share a key, an identity or a self-mask.

    """
    members = tuple(sorted(bundles, key=KeyBundle.digest))
    require_distinct(members)
    degree = parameters.degree
    if len(members) < max(least_survivors, degree + 1):
        return GroupFailed(f"members must be >= {max(least_survivors, degree + 1)}, got {len(members)}")
    if len(members) > MAX_MEMBERS:
        return GroupFailed(f"members must be <= {MAX_MEMBERS}, got {len(members)}")
    if degree % 2 and degree != len(members) - 1:
        return GroupFailed(f"degree must be even or {len(members) - 1}, got {degree}")
    return Group(task=task, parameters=parameters, least_survivors=least_survivors, bundles=members)


def roster_for(group: Group, index: int) -> bytes:
    """Stage 1: the `Roster` that one member gets."""
    return encode(
        Roster(
            parameters=group.parameters,
            digests=b"".join(group.digests),
            neighbours=tuple(group.bundles[neighbour] for neighbour in group.neighbours[index]),
        )
    )


def accept_shares(group: Group, sender: int, payload: bytes) -> bytes:
    """Stage 1: what a member sealed for its neighbours, to be stored by sender.

    Raises:
      MalformedMessage: no `EncryptedShares`, of another sender, or of another length.
      WrongSession: of another round, task or group.

    """
    message = decode(payload, EncryptedShares)
    require_sender(message, group.session_id, sender)
    split_bytes(message.sealed, SEALED_BYTES, group.parameters.degree, "sealed shares")
    return message.sealed


def route_shares(group: Group, sharers: Collection[int]) -> frozenset[int] | GroupFailed:
    """Stage 1, at its deadline: who goes on of those whose shares came.

    Args:
      group: the group.
      sharers: the senders of what `accept_shares` returned.

    Returns:
      The sharers without those whose secrets too few of the others hold to give them back. It fails if what remains is
      under the least number of survivors.

    """
    remaining = frozenset(sharers)
    while True:
        held = frozenset(i for i in remaining if _num_among(group, i, remaining) >= group.parameters.threshold)
        if held == remaining:
            break
        remaining = held
    return _one_sum(group, remaining)


def delivery_for(group: Group, sharers: Collection[int], sealed: Mapping[int, bytes], index: int) -> bytes:
    """Stage 2: the `DeliveredShares` of one member.

    Args:
      group: the group.
      sharers: as `route_shares` gave them.
      sealed: what `accept_shares` returned, by sender; at least of the member's neighbours among `sharers`.
      index: of the member, one of `sharers`.

    """
    senders = [neighbour for neighbour in group.neighbours[index] if neighbour in sharers]
    places = (SEALED_BYTES * group.neighbours[sender].index(index) for sender in senders)
    parts = (sealed[sender][place : place + SEALED_BYTES] for sender, place in zip(senders, places, strict=True))
    bitmap = to_bitmap(sharers, len(group.bundles))
    return encode(DeliveredShares(session_id=group.session_id, sharers=bitmap, sealed=b"".join(parts)))


def begin_sum(group: Group) -> PartialSum:
    """Stage 2: the sum of no inputs."""
    parameters = group.parameters
    return PartialSum(np.zeros(parameters.vector_length, lane_dtype(parameters.value_bits)), set())


def add_masked(partial: PartialSum, group: Group, sharers: Collection[int], sender: int, payload: bytes) -> None:
    """Stage 2: adds one member's masked input.

    Guarantees:
      `partial` is as it was if this raises, and no input is in it twice.

    Raises:
      MalformedMessage: as `read_masked_input`.
      WrongSession: of another round, task or group.
      WrongSurvivors: of a member that had not shared its secrets, or whose input is in the sum.

    """
    if sender not in sharers:
        raise WrongSurvivors(f"member {sender} must have shared its secrets before its masked input counts")
    if sender in partial.members:
        raise WrongSurvivors(f"member {sender} must send one masked input, got another")
    masked = read_masked_input(payload, group.parameters, group.session_id, sender)
    np.add(partial.lanes, masked, out=partial.lanes)
    partial.members.add(sender)


def merge_sums(partial: PartialSum, other: PartialSum) -> None:
    """Stage 2: adds to `partial` what another process has added; the order does not matter.

    Raises:
      WrongSurvivors: a member's input is in both.

    """
    twice = partial.members & other.members
    if twice:
        raise WrongSurvivors(f"inputs must be in one partial sum, got {len(twice)} in two")
    np.add(partial.lanes, other.lanes, out=partial.lanes)
    partial.members |= other.members


def survivors_of(group: Group, members: Collection[int]) -> frozenset[int] | GroupFailed:
    """Stage 2, at its deadline: the survivors if the sum of these members may and can be unmasked."""
    survivors = frozenset(members)
    weak = sum(_num_among(group, index, survivors) < group.parameters.threshold for index in survivors)
    if weak:
        return GroupFailed(
            f"every survivor must have {group.parameters.threshold} surviving neighbours, {weak} have less"
        )
    return _one_sum(group, survivors)


def survivor_list(group: Group, survivors: Collection[int]) -> bytes:
    """Stage 3: the `SurvivorList` that every survivor gets."""
    bitmap = to_bitmap(survivors, len(group.bundles))
    return encode(SurvivorList(session_id=group.session_id, survivors=bitmap))


def accept_confirmation(
    group: Group, sharers: Collection[int], survivors: Collection[int], sender: int, payload: bytes
) -> bytes:
    """Stage 3: a survivor's signature over what it was told, to be stored by sender.

    Raises:
      MalformedMessage: no `Confirmation`, or of another sender.
      WrongSession: of another round, task or group.
      WrongSurvivors: not of a survivor, or over something else.

    """
    message = decode(payload, Confirmation)
    require_sender(message, group.session_id, sender)
    told = (to_bitmap(sharers, len(group.bundles)), to_bitmap(survivors, len(group.bundles)))
    identity_key = group.bundles[sender].identity_key
    if sender not in survivors or not confirms(message.signature, identity_key, group.session_id, *told):
        raise WrongSurvivors(f"member {sender} must confirm the survivors that it was told of")
    return message.signature


def revealers_of(group: Group, survivors: Collection[int], confirmers: Collection[int]) -> frozenset[int] | GroupFailed:
    """Stage 3, at its deadline: those of whom shares may be asked, enough of whose neighbours confirmed.

    Args:
      group: the group.
      survivors: as `survivors_of` gave them.
      confirmers: the senders of what `accept_confirmation` returned.

    """
    least = group.parameters.threshold
    revealers = frozenset(index for index in confirmers if _num_among(group, index, confirmers) >= least)
    weak = sum(_num_among(group, index, revealers) < least for index in survivors)
    if weak:
        return GroupFailed(f"every survivor must have {least} neighbours that give shares, {weak} have less")
    return revealers


def confirmations_for(group: Group, signatures: Mapping[int, bytes], index: int) -> bytes:
    """Stage 4: the `Confirmations` of one survivor; it goes on if `threshold` of its neighbours are among them.

    Args:
      group: the group.
      signatures: what `accept_confirmation` returned, by sender; at least of the member's neighbours.
      index: of the survivor.

    """
    senders = tuple(neighbour for neighbour in group.neighbours[index] if neighbour in signatures)
    joined = b"".join(signatures[sender] for sender in senders)
    return encode(Confirmations(session_id=group.session_id, senders=senders, signatures=joined))


def _num_among(group: Group, index: int, members: Collection[int]) -> int:
    return sum(neighbour in members for neighbour in group.neighbours[index])


def _one_sum(group: Group, members: frozenset[int]) -> frozenset[int] | GroupFailed:
    try:
        require_one_sum(members, group.order, group.parameters.degree, group.least_survivors)
    except WrongSurvivors as error:
        return GroupFailed(str(error))
    return members
