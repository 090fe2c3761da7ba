"""What a member makes up for one session and never tells: its keys and masks, and what it does with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.lanes import LaneArray
from protocol.secure_aggregation.keys import KEY_BYTES, KeyPair, Purpose, agree, key_pair
from protocol.secure_aggregation.masks import add_mask
from protocol.secure_aggregation.membership import Membership
from protocol.secure_aggregation.messages import KeyBundle, sign_bundle, split_bytes
from protocol.secure_aggregation.shamir import split
from protocol.secure_aggregation.shares import SEALED_BYTES, NeighbourShares, open_sealed, seal
from protocol.secure_aggregation.signing import Task, self_mask_digest

RandomBytes = Callable[[int], bytes]
"""Gives as many cryptographically random bytes as asked for, such as `secrets.token_bytes`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberSecrets:
    """Device: two key pairs and the seed of the self-mask, for one session only.

    Attributes:
      identity: the device's enrolled key; the only secret that outlives the session.
      mask: the pair whose private key its neighbours can give to the service.
      encryption: the pair whose private key nobody else ever sees.
      self_mask_seed: 32 bytes.
      random_bytes: where these came from, and what sharing them needs comes from.

    """

    identity: Ed25519PrivateKey = field(repr=False)
    mask: KeyPair
    encryption: KeyPair
    self_mask_seed: bytes = field(repr=False)
    random_bytes: RandomBytes = field(repr=False)

    @classmethod
    def draw(cls, identity: Ed25519PrivateKey, random_bytes: RandomBytes) -> "MemberSecrets":
        """Fresh secrets."""
        return cls(
            identity=identity,
            mask=key_pair(random_bytes(KEY_BYTES)),
            encryption=key_pair(random_bytes(KEY_BYTES)),
            self_mask_seed=random_bytes(KEY_BYTES),
            random_bytes=random_bytes,
        )

    def bundle(self, task: Task) -> KeyBundle:
        """The public halves, signed for `task`."""
        return sign_bundle(
            task,
            identity=self.identity,
            mask_key=self.mask.public,
            encryption_key=self.encryption.public,
            self_mask_digest=self_mask_digest(self.self_mask_seed),
        )

    def seal_shares(self, membership: Membership) -> bytes:
        """Shares of the two secrets, sealed for each neighbour, 94 bytes each by ascending index."""
        points = [neighbour + 1 for neighbour in membership.neighbours]
        threshold = membership.parameters.threshold
        of_seed = split(self.self_mask_seed, threshold, points, self.random_bytes)
        of_key = split(self.mask.private, threshold, points, self.random_bytes)
        return b"".join(
            seal(
                NeighbourShares(seed_share, key_share),
                self._sealing_key(membership, neighbour),
                session_id=membership.session_id,
                sender=membership.index,
                receiver=neighbour,
                random_bytes=self.random_bytes,
            )
            for neighbour, seed_share, key_share in zip(membership.neighbours, of_seed, of_key, strict=True)
        )

    def open_shares(self, membership: Membership, senders: Sequence[int], joined: bytes) -> dict[int, NeighbourShares]:
        """What these neighbours sealed for this member.

        Raises:
          MalformedMessage: not 94 bytes of each.
          BadSeal: changed, of another member, or of another session.

        """
        sealed = split_bytes(joined, SEALED_BYTES, len(senders), "sealed shares")
        return {
            sender: open_sealed(
                part,
                self._sealing_key(membership, sender),
                session_id=membership.session_id,
                sender=sender,
                receiver=membership.index,
            )
            for sender, part in zip(senders, sealed, strict=True)
        }

    def masked(self, values: LaneArray, membership: Membership, peers: Sequence[int]) -> LaneArray:
        """A copy of `values` with the self-mask, and the mask that this member shares with each of these neighbours."""
        result = values.copy()
        add_mask(result, self.self_mask_seed)
        for peer in peers:
            seed = agree(self.mask, membership.neighbours[peer].mask_key, Purpose.MASK, membership.session_id)
            add_mask(result, seed, sign=1 if membership.index < peer else -1)
        return result

    def _sealing_key(self, membership: Membership, neighbour: int) -> bytes:
        peer = membership.neighbours[neighbour].encryption_key
        return agree(self.encryption, peer, Purpose.SEALING, membership.session_id)
