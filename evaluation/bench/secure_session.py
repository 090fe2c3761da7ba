"""One session of secure aggregation to measure: its setting, and members who send the service what it would get.

The service cannot tell these members from devices: keys, signatures, shares, lengths and the sum are as they would be.
They leave out what it never sees: masks between two survivors, which cancel, and what is sealed for other members.
"""

import random
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model.network import FULL
from protocol.arrays import FloatArray
from protocol.lanes import LaneArray
from protocol.quantisation import Quantiser
from protocol.secure_aggregation import server
from protocol.secure_aggregation.group import Group, GroupFailed
from protocol.secure_aggregation.keys import Purpose, agree
from protocol.secure_aggregation.masked_input import encode_masked_input
from protocol.secure_aggregation.masks import add_mask
from protocol.secure_aggregation.member_secrets import MemberSecrets
from protocol.secure_aggregation.membership import Terms
from protocol.secure_aggregation.messages import (
    Confirmation,
    EncryptedShares,
    GroupParameters,
    KeyBundle,
    UnmaskingShares,
    encode,
)
from protocol.secure_aggregation.shamir import split
from protocol.secure_aggregation.shares import SEALED_BYTES
from protocol.secure_aggregation.signing import Task, sign_survivors
from protocol.secure_aggregation.sizing import GraphSize, Mode, size_group
from protocol.secure_aggregation.survivors import to_bitmap

ROTATION_SEED = bytes(range(32))
_CLIP_NORM = 1.0
_DISTINCT_UPDATES = 4


class NoSession(Exception):
    """The group failed where nothing was wrong but the members that dropped out as planned."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a session is measured at.

    Attributes:
      num_members: n.
      vector_length: values of one update.
      value_bits: b; sums are modulo 2^b.
      mode: what members fear of the service; decides degree and threshold with the two fractions.
      adversary_fraction: of the members, who may side with the service.
      dropout_fraction: of the members, who may drop out.
      dropping_out: of the members, who do, after they have shared their keys.
      seed: of updates, and of who drops out.

    """

    num_members: int
    vector_length: int = FULL.num_weights
    value_bits: int = 16
    mode: Mode = "malicious"
    adversary_fraction: float = 0.05
    dropout_fraction: float = 0.1
    dropping_out: float = 0.1
    seed: int = 0

    @property
    def task(self) -> Task:
        """What the session is for."""
        return Task(population="bench", round_id="5e" * 16, plan_sha256=bytes(32))

    @property
    def graph_size(self) -> GraphSize:
        """Degree and threshold."""
        return size_group(
            self.num_members,
            adversary_fraction=self.adversary_fraction,
            dropout_fraction=self.dropout_fraction,
            mode=self.mode,
        )

    @property
    def parameters(self) -> GroupParameters:
        """Of the group."""
        degree, threshold = self.graph_size
        return GroupParameters(
            degree=degree, threshold=threshold, value_bits=self.value_bits, vector_length=self.vector_length
        )

    @property
    def terms(self) -> Terms:
        """Of its members."""
        return Terms(
            task=self.task,
            value_bits=self.value_bits,
            vector_length=self.vector_length,
            min_members=2,
            adversary_fraction=self.adversary_fraction,
            dropout_fraction=self.dropout_fraction,
            mode=self.mode,
        )

    @property
    def quantiser(self) -> Quantiser:
        """Of their updates."""
        return Quantiser(
            l2_clip_norm=_CLIP_NORM,
            value_bits=self.value_bits,
            max_cohort=self.num_members,
            vector_length=self.vector_length,
        )

    @property
    def num_dropped(self) -> int:
        """Members that drop out."""
        return round(self.dropping_out * self.num_members)

    def dropped(self) -> frozenset[int]:
        """Their indices."""
        chosen = random.Random(self.seed).sample(range(self.num_members), self.num_dropped)  # noqa: S311
        return frozenset(chosen)

    def update(self, number: int = 0) -> FloatArray:
        """float32 [vector_length], longer than what it is clipped to."""
        drawn = np.random.default_rng((self.seed, number)).normal(size=self.vector_length)
        return (drawn * (2 * _CLIP_NORM / np.linalg.norm(drawn))).astype(np.float32)

    def form_group(self, bundles: Sequence[KeyBundle]) -> Group:
        """The group of these members.

        Raises:
          NoSession: they are too few.

        """
        least = self.terms.least_survivors(self.num_members)
        group = server.form_group(self.task, self.parameters, least, bundles)
        if isinstance(group, GroupFailed):
            raise NoSession(group.reason)
        return group


def draw_secrets() -> MemberSecrets:
    """A new member's, with a new identity."""
    return MemberSecrets.draw(Ed25519PrivateKey.generate(), secrets.token_bytes)


class Members:
    """All members of a session, by index, and what each sends at every stage."""

    def __init__(self, setting: Setting) -> None:
        drawn = [draw_secrets() for _ in range(setting.num_members)]
        by_digest = {(bundle := each.bundle(setting.task)).digest(): (each, bundle) for each in drawn}
        in_order = [by_digest[digest] for digest in sorted(by_digest)]
        self._setting = setting
        self._secrets = [each for each, _ in in_order]
        self.group = setting.form_group([bundle for _, bundle in in_order])
        self.dropped = setting.dropped()
        self.survivors = frozenset(range(setting.num_members)) - self.dropped
        quantiser = setting.quantiser
        self._inputs = [
            quantiser.encode(setting.update(number), ROTATION_SEED, secrets.token_bytes)
            for number in range(_DISTINCT_UPDATES)
        ]

    @property
    def everyone(self) -> range:
        """Indices of all members."""
        return range(self._setting.num_members)

    def encrypted_shares(self, index: int) -> bytes:
        """Stage 1: random bytes in place of what only neighbours can open."""
        sealed = secrets.token_bytes(SEALED_BYTES * self.group.parameters.degree)
        return encode(EncryptedShares(session_id=self.group.session_id, sender=index, sealed=sealed))

    def masked_input(self, index: int) -> bytes:
        """Stage 2: an update with the masks that are left in the sum."""
        group, own = self.group, self._secrets[index]
        lanes = self._inputs[index % _DISTINCT_UPDATES].copy()
        add_mask(lanes, own.self_mask_seed)
        for peer in self.dropped.intersection(group.neighbours[index]):
            seed = agree(own.mask, group.bundles[peer].mask_key, Purpose.MASK, group.session_id)
            add_mask(lanes, seed, sign=1 if index < peer else -1)
        return encode_masked_input(lanes, group.parameters, group.session_id, index)

    def confirmation(self, index: int) -> bytes:
        """Stage 3."""
        session_id = self.group.session_id
        signature = sign_survivors(self._secrets[index].identity, session_id, *self._told)
        return encode(Confirmation(session_id=session_id, sender=index, signature=signature))

    def unmasking_shares(self, index: int) -> bytes:
        """Stage 4."""
        shares = b"".join(self._shares[owner][index] for owner in self.group.neighbours[index])
        return encode(UnmaskingShares(session_id=self.group.session_id, sender=index, shares=shares))

    def true_sum(self) -> LaneArray:
        """What the service must find."""
        counts = Counter(index % _DISTINCT_UPDATES for index in self.survivors)
        total = np.zeros_like(self._inputs[0])
        for number, count in counts.items():
            total += self._inputs[number] * total.dtype.type(count)
        return total & total.dtype.type((1 << self._setting.value_bits) - 1)

    @cached_property
    def _told(self) -> tuple[bytes, bytes]:
        size = self._setting.num_members
        return to_bitmap(self.everyone, size), to_bitmap(self.survivors, size)

    @cached_property
    def _shares(self) -> list[dict[int, bytes]]:
        """Of each member, by neighbour, the shares that are revealed."""
        return [self._split(index) for index in self.everyone]

    def _split(self, owner: int) -> dict[int, bytes]:
        own, neighbours = self._secrets[owner], self.group.neighbours[owner]
        secret = own.self_mask_seed if owner in self.survivors else own.mask.private
        points = [neighbour + 1 for neighbour in neighbours]
        shares = split(secret, self.group.parameters.threshold, points, secrets.token_bytes)
        return dict(zip(neighbours, shares, strict=True))
