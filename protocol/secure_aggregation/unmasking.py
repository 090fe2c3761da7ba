"""The service's side of stage 4: puts secrets together from shares, and takes the masks off the sum."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

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

MAX_TRIES = 128
"""Sets of shares from which one secret is tried to be put together, beyond those that leave out one stretch."""


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
    *,
    suspects: set[int] | None = None,
) -> LaneArray | GroupFailed:
    """Stage 4, at its deadline: the sum of the survivors' inputs.

    Args:
      total: lanes [vector_length], the sum of the survivors' masked inputs; changed in place.
      group: the group.
      sharers: as `route_shares` gave them.
      survivors: as `survivors_of` gave them.
      shares: what `accept_unmasking` returned, by sender.
      suspects: to which members are added whose shares were found wrong: they sent others than they got, or got such
        from the secret's owner; and an owner of whose secret enough shares came and did not give it. A hint and no
        proof: liars who agree can put it on others, and wrong shares that were not needed are not looked for.

    Returns:
      `total`, which is now the sum modulo 2^value_bits.

    Guarantees:
      it never is another sum: every secret is checked against what its owner signed at stage 0. `total` is untouched if
      the group fails. Beside it, memory is for the shares and the secrets, not for masks.

      Wrong shares of one member do no harm where one share more than the threshold is there; those of two where two
      more are, among up to 16 shares, or an eighth of the shares and one more, among any number.

      A secret costs one try, or, if a share is wrong whose sender was no suspect yet, up to `MAX_TRIES` and one for
      each stretch that can be left out.

    """
    masks = masks_of(group, sharers, survivors, shares, suspects=suspects)
    if isinstance(masks, GroupFailed):
        return masks
    take_off(total, masks)
    np.bitwise_and(total, total.dtype.type(2**group.parameters.value_bits - 1), out=total)
    return total


def masks_of(
    group: Group,
    sharers: Collection[int],
    survivors: Collection[int],
    shares: Mapping[int, bytes],
    *,
    suspects: set[int] | None = None,
) -> list[Mask] | GroupFailed:
    """Stage 4: the masks that are left in the sum; several processes may each take off a part of them.

    Args and failures are those of `unmask`.

    Source: Bonawitz et al. 2017, arXiv 1611.04482, figure 4, round 4.

    """
    suspects = set() if suspects is None else suspects
    by_owner = _shares_by_owner(group, sharers, shares)
    masks: list[Mask] = []
    for owner in sorted(sharers):
        found = _masks_left_by(group, owner, survivors, by_owner[owner], suspects)
        if isinstance(found, GroupFailed):
            if len(by_owner[owner]) >= group.parameters.threshold:
                suspects.add(owner)
            return found
        masks += found
    return masks


def take_off(total: LaneArray, masks: Collection[Mask]) -> None:
    """Stage 4: takes these masks off `total`, in place."""
    for seed, sign in masks:
        add_mask(total, seed, sign=sign)


def _masks_left_by(
    group: Group, owner: int, survivors: Collection[int], shares: _SharesByPoint, suspects: set[int]
) -> list[Mask] | GroupFailed:
    """A survivor's self-mask, or the masks that the survivors made with a member that dropped out."""
    bundle = group.bundles[owner]
    threshold = group.parameters.threshold
    if owner in survivors:
        seed = _recover(shares, threshold, lambda secret: self_mask_digest(secret) == bundle.self_mask_digest, suspects)
        return _failed(owner) if seed is None else [(seed, -1)]
    peers = [neighbour for neighbour in group.neighbours[owner] if neighbour in survivors]
    if not peers:
        return []
    private = _recover(shares, threshold, lambda secret: key_pair(secret).public == bundle.mask_key, suspects)
    if private is None:
        return _failed(owner)
    pair = key_pair(private)
    return [
        (agree(pair, group.bundles[peer].mask_key, Purpose.MASK, group.session_id), -1 if peer < owner else 1)
        for peer in peers
    ]


def _recover(shares: _SharesByPoint, threshold: int, fits: Callable[[bytes], bool], suspects: set[int]) -> bytes | None:
    """The secret that `fits`, or None; where wrong shares had to be passed over, their senders become suspects.

    Shares of those who are suspects already are the last that are tried.
    """
    points = sorted(shares, key=lambda point: (point - 1 in suspects, point))
    for number, chosen in enumerate(_choices(points, threshold)):
        secret = _combined(shares, chosen)
        if secret is not None and fits(secret):
            if number:
                suspects |= {point - 1 for point in _off_polynomial(shares, chosen, secret)}
            return secret
    return None


def _choices(points: Sequence[int], threshold: int) -> Iterator[Sequence[int]]:
    """As many points as the threshold, again and again, each time without others.

    First a stretch is left out, a different one each time, until each point was left out once. Then pairs of stretches
    are, half as long, until each pair of points was left out together, or after `MAX_TRIES`.
    """
    spare = len(points) - threshold
    if spare < 0:
        return
    for start in range(0, len(points), max(1, spare)):
        yield (*points[start:], *points[:start])[:threshold]
    if spare < 2:  # no two can be left out
        return
    halves = [points[start : start + spare // 2] for start in range(0, len(points), spare // 2)]
    for left_out in itertools.islice(itertools.combinations(halves, 2), MAX_TRIES):
        without = {point for half in left_out for point in half}
        yield [point for point in points if point not in without][:threshold]


def _off_polynomial(shares: _SharesByPoint, right: Sequence[int], secret: bytes) -> list[int]:
    """The points of wrong shares: in the place of a right one, such a share does not give the secret.

    Two polynomials that agree at zero and at all but one of `right` are the same.
    """
    others = [point for point in shares if point not in right]
    return [point for point in others if _combined(shares, [*right[1:], point]) != secret]


def _combined(shares: _SharesByPoint, points: Sequence[int]) -> bytes | None:
    try:
        return combine({point: shares[point] for point in points}, len(points))
    except BadShare:
        return None


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
