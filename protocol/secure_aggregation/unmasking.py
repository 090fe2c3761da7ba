"""The service's side of stage 4: puts secrets together from shares, and takes the masks off the sum."""

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from protocol.lanes import LaneArray
from protocol.secure_aggregation.errors import BadShare, WrongSurvivors
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.keys import Purpose, agree, key_pair
from protocol.secure_aggregation.masks import Sign, add_mask
from protocol.secure_aggregation.messages import UnmaskingShares, decode, require_sender, split_bytes
from protocol.secure_aggregation.shamir import SHARE_BYTES, combine
from protocol.secure_aggregation.signing import self_mask_digest

Mask = tuple[bytes, Sign]
"""The seed of a mask that is in the sum, and the sign with which it is taken off."""

_SharesByPoint = dict[int, bytes]


def accept_unmasking(
    group: Group, sharers: Collection[int], survivors: Collection[int], sender: int, payload: bytes
) -> bytes:
    """Stage 4: a survivor's shares of its neighbours' secrets, to be stored by sender.

    Raises:
      MalformedMessage: no `UnmaskingShares`, of another sender, or of another length.
      WrongSession: of another round, task or group.
      WrongSurvivors: not of a survivor.

    """
    message = decode(payload, UnmaskingShares)
    require_sender(message, group.session_id, sender)
    if sender not in survivors:
        raise WrongSurvivors(f"member {sender} must have survived to unmask the others")
    split_bytes(message.shares, SHARE_BYTES, len(_kept_by(group, sharers, sender)), "shares")
    return message.shares


def unmask(
    total: LaneArray,
    group: Group,
    sharers: Collection[int],
    survivors: Collection[int],
    shares: Mapping[int, bytes],
) -> LaneArray | GroupFailed:
    """Stage 4, at its deadline: the sum of the survivors' inputs.

    Args:
      total: lanes [vector_length], the sum of the survivors' masked inputs; changed in place.
      group: the group.
      sharers: as `route_shares` gave them.
      survivors: as `survivors_of` gave them.
      shares: what `accept_unmasking` returned, by sender.

    Returns:
      `total`, which is now the sum modulo 2^value_bits.

    Guarantees:
      it never is another sum: every secret is checked against what its owner signed at stage 0. `total` is untouched if
      the group fails. Beside it, memory is for the shares and the secrets, not for masks.

    """
    masks = masks_of(group, sharers, survivors, shares)
    if isinstance(masks, GroupFailed):
        return masks
    take_off(total, masks)
    np.bitwise_and(total, total.dtype.type(2**group.parameters.value_bits - 1), out=total)
    return total


def masks_of(
    group: Group, sharers: Collection[int], survivors: Collection[int], shares: Mapping[int, bytes]
) -> list[Mask] | GroupFailed:
    """Stage 4: the masks that are left in the sum; several processes may each take off a part of them.

    Args and failures are those of `unmask`.

    Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 4.

    """
    by_owner = _shares_by_owner(group, sharers, shares)
    masks: list[Mask] = []
    for owner in sorted(sharers):
        found = _masks_left_by(group, owner, survivors, by_owner[owner])
        if isinstance(found, GroupFailed):
            return found
        masks += found
    return masks


def take_off(total: LaneArray, masks: Collection[Mask]) -> None:
    """Stage 4: takes these masks off `total`, in place."""
    for seed, sign in masks:
        add_mask(total, seed, sign=sign)


def _masks_left_by(
    group: Group, owner: int, survivors: Collection[int], shares: _SharesByPoint
) -> list[Mask] | GroupFailed:
    """A survivor's self-mask, or the masks that the survivors made with a member that dropped out."""
    bundle = group.bundles[owner]
    threshold = group.parameters.threshold
    if owner in survivors:
        seed = _recover(shares, threshold, lambda secret: self_mask_digest(secret) == bundle.self_mask_digest)
        return _failed(owner) if seed is None else [(seed, -1)]
    peers = [neighbour for neighbour in group.neighbours[owner] if neighbour in survivors]
    if not peers:
        return []
    private = _recover(shares, threshold, lambda secret: key_pair(secret).public == bundle.mask_key)
    if private is None:
        return _failed(owner)
    pair = key_pair(private)
    return [
        (agree(pair, group.bundles[peer].mask_key, Purpose.MASK, group.session_id), -1 if peer < owner else 1)
        for peer in peers
    ]


def _recover(shares: _SharesByPoint, threshold: int, fits: Callable[[bytes], bool]) -> bytes | None:
    """The secret that `fits`, or None; wrong shares are passed over where enough right ones stand in a row."""
    for chosen in _in_a_row(shares, threshold):
        try:
            secret = combine(chosen, threshold)
        except BadShare:
            continue
        if fits(secret):
            return secret
    return None


def _in_a_row(shares: _SharesByPoint, threshold: int) -> Iterator[_SharesByPoint]:
    """As many shares as the threshold, again and again, each time without others.

    What is left out is a different stretch of the points each time, and together they are all points: so one wrong
    share is left out once, if more than the threshold are there; and nobody can make the service try for long.
    """
    points = sorted(shares)
    if len(points) < threshold:
        return
    for start in range(0, len(points), max(1, len(points) - threshold)):
        chosen = (points[start:] + points[:start])[:threshold]
        yield {point: shares[point] for point in chosen}


def _shares_by_owner(group: Group, sharers: Collection[int], shares: Mapping[int, bytes]) -> dict[int, _SharesByPoint]:
    by_owner: dict[int, _SharesByPoint] = {owner: {} for owner in sharers}
    for sender, joined in shares.items():
        owners = _kept_by(group, sharers, sender)
        for owner, share in zip(owners, split_bytes(joined, SHARE_BYTES, len(owners), "shares"), strict=True):
            by_owner[owner][sender + 1] = share
    return by_owner


def _kept_by(group: Group, sharers: Collection[int], index: int) -> list[int]:
    """Whose shares a member keeps, ascending."""
    return [neighbour for neighbour in group.neighbours[index] if neighbour in sharers]


def _failed(owner: int) -> GroupFailed:
    return GroupFailed(f"shares of member {owner} must give its secret back, they are too few or wrong")
