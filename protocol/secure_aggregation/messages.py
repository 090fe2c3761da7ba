"""The messages of secure aggregation, in the order of a session, and what binds them to it.

All carry binary only: MessagePack arrays whose first element says which message it is, strictly decoded; a masked input
is a header and packed integers (`masked_input.py`). Members are numbered from 0 in the order of their bundles' digests,
so the same bundles are the same roster, whoever lists them.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import MalformedMessage
from protocol.lanes import MAX_VALUE_BITS, MIN_VALUE_BITS
from protocol.secure_aggregation.errors import WrongSession
from protocol.secure_aggregation.keys import require_point
from protocol.secure_aggregation.signing import DIGEST_BYTES, Digest, Signature, Task, sign_keys, verify_keys

MAX_MEMBERS = 65_536
MAX_DEGREE = 4_096
MAX_VECTOR_LENGTH = 2**28

_BUNDLE_DIGEST_DOMAIN = b"keychorus/secure-aggregation/bundle-digest/v1\n"
_SESSION_DOMAIN = b"keychorus/secure-aggregation/session/v1\n"
_PARAMETERS = struct.Struct("<HHBII")  # degree, threshold, value_bits, vector_length, number of members

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=MAX_MEMBERS)]
Indices = Annotated[tuple[Index, ...], msgspec.Meta(max_length=MAX_DEGREE)]
Bitmap = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_MEMBERS // 8)]
MessageT = TypeVar("MessageT", bound="Message")


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all messages: an array, without field names; its tag comes first."""


class GroupParameters(Message, frozen=True, kw_only=True):
    """Setting of one group, frozen before its members know each other.

    Attributes:
      degree: k, neighbours of each member.
      threshold: t, shares that give a member's secret.
      value_bits: b; sums are modulo 2^b.
      vector_length: values of one update.

    """

    degree: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEGREE)]
    threshold: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEGREE)]
    value_bits: Annotated[int, msgspec.Meta(ge=MIN_VALUE_BITS, le=MAX_VALUE_BITS)]
    vector_length: Annotated[int, msgspec.Meta(ge=1, le=MAX_VECTOR_LENGTH)]

    def __post_init__(self) -> None:
        if self.threshold > self.degree:
            raise ValueError(f"threshold must be <= degree {self.degree}, got {self.threshold}")


class KeyBundle(Message, frozen=True, kw_only=True, tag="keys"):
    """Stage 0, device to service: the public keys it made for this session, signed with the key that it enrolled.

    Attributes:
      identity_key: Ed25519, the device's enrolled one.
      mask_key: X25519, whose secrets seed pairwise masks.
      encryption_key: X25519, whose secrets seal shares.
      self_mask_digest: of the seed of its own mask, so that the service knows whether shares gave it back rightly.
      signature: by `identity_key`, over the task and the three others.

    """

    identity_key: Key
    mask_key: Key
    encryption_key: Key
    self_mask_digest: Digest
    signature: Signature

    def digest(self) -> bytes:
        """32 bytes that stand for the bundle in a roster."""
        fields = (self.identity_key, self.mask_key, self.encryption_key, self.self_mask_digest, self.signature)
        return hashlib.sha256(_BUNDLE_DIGEST_DOMAIN + b"".join(fields)).digest()

    def verify(self, task: Task) -> None:
        """Both sides: checks that this is a bundle of `task` which the owner of `identity_key` signed.

        Raises:
          WrongBundle: signed by another key or for another task, or changed afterwards.
          BadPoint: a key with which no secret can be agreed on.

        """
        keys = self.mask_key + self.encryption_key + self.self_mask_digest
        verify_keys(self.signature, self.identity_key, task, keys)
        for key in (self.mask_key, self.encryption_key):
            require_point(key)


class Roster(Message, frozen=True, kw_only=True, tag="roster"):
    """Stage 1, service to device: who is in the group, and the bundles of this member's neighbours.

    Attributes:
      parameters: of the group.
      digests: of all members' bundles, 32 bytes each, ascending: a member's index is its place in them.
      neighbours: bundles of this member's neighbours, by ascending index.

    """

    parameters: GroupParameters
    digests: Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES * MAX_MEMBERS)]
    neighbours: Annotated[tuple[KeyBundle, ...], msgspec.Meta(max_length=MAX_DEGREE)]


class EncryptedShares(Message, frozen=True, kw_only=True, tag="shares"):
    """Stage 1, device to service: shares of its two secrets, 94 sealed bytes a neighbour, by ascending index."""

    session_id: Digest
    sender: Index
    sealed: bytes


class DeliveredShares(Message, frozen=True, kw_only=True, tag="delivery"):
    """Stage 2, service to device: who shared its secrets, and what those of its neighbours sealed for it.

    Attributes:
      session_id: 32 bytes.
      sharers: all members who did, as one bit each (`survivors.py`): nobody else takes part from now on.
      sealed: from each neighbour among them 94 bytes, by ascending index.

    """

    session_id: Digest
    sharers: Bitmap
    sealed: bytes


class SurvivorList(Message, frozen=True, kw_only=True, tag="survivors"):
    """Stage 3, service to device: whose masked inputs are in the sum, as one bit a member."""

    session_id: Digest
    survivors: Bitmap


class Confirmation(Message, frozen=True, kw_only=True, tag="confirmation"):
    """Stage 3, device to service: its signature over the sharers and the survivors that it was told."""

    session_id: Digest
    sender: Index
    signature: Signature


class Confirmations(Message, frozen=True, kw_only=True, tag="confirmations"):
    """Stage 4, service to device: the signatures (64 bytes each) of those of its neighbours that confirmed."""

    session_id: Digest
    senders: Indices
    signatures: bytes


class UnmaskingShares(Message, frozen=True, kw_only=True, tag="unmasking"):
    """Stage 4, device to service: of each neighbour that shared its secrets, one share (33 bytes), by ascending index.

    Of a survivor it is a share of the self-mask's seed, of others one of the mask's private key: the message has no way
    to say both.
    """

    session_id: Digest
    sender: Index
    shares: bytes


FromMember = EncryptedShares | Confirmation | UnmaskingShares
"""What members send after stage 0, but for masked inputs."""


def encode(message: Message) -> bytes:
    """Both sides: a message as bytes."""
    return msgspec.msgpack.encode(message)


def decode(payload: bytes, message_type: type[MessageT]) -> MessageT:
    """Both sides: reads one message.

    Raises:
      MalformedMessage: truncated, too long, another message, or a value out of its bound.

    """
    try:
        return msgspec.msgpack.decode(payload, type=message_type)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedMessage(f"not a valid {message_type.__name__}") from None


def split_bytes(joined: bytes, size: int, count: int, name: str) -> list[bytes]:
    """Both sides: the `count` parts of `size` bytes each of a message's field.

    Raises:
      MalformedMessage: another length.

    """
    if len(joined) != size * count:
        raise MalformedMessage(f"{name} must be {size * count} bytes, got {len(joined)}")
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def require_session(expected: bytes, received: bytes) -> None:
    """Both sides: refuses what belongs to another session.

    Raises:
      WrongSession: of another round, task or group.

    """
    if received != expected:
        raise WrongSession("a message must be of this session, got one of another")


def require_sender(message: FromMember, session_id: bytes, sender: int) -> None:
    """Service: refuses what is not this session's or not this member's.

    Raises:
      WrongSession: of another round, task or group.
      MalformedMessage: of another sender.

    """
    require_session(session_id, message.session_id)
    if message.sender != sender:
        raise MalformedMessage(f"sender of a message must be {sender}, got {message.sender}")


def sign_bundle(
    task: Task, *, identity: Ed25519PrivateKey, mask_key: bytes, encryption_key: bytes, self_mask_digest: bytes
) -> KeyBundle:
    """Device: its bundle. All arguments but `identity` are public; the keys are 32 bytes each."""
    return KeyBundle(
        identity_key=identity.public_key().public_bytes_raw(),
        mask_key=mask_key,
        encryption_key=encryption_key,
        self_mask_digest=self_mask_digest,
        signature=sign_keys(identity, task, mask_key + encryption_key + self_mask_digest),
    )


def session_id_of(task: Task, parameters: GroupParameters, digests: Sequence[bytes]) -> bytes:
    """Both sides: 32 bytes that name one session: another task, setting or member, and it is another session.

    The graph is drawn from it, shares are sealed for it and masks made for it: whoever was given another roster cannot
    take part in this one.
    """
    numbers = _PARAMETERS.pack(
        parameters.degree, parameters.threshold, parameters.value_bits, parameters.vector_length, len(digests)
    )
    return hashlib.sha256(_SESSION_DOMAIN + task.context() + numbers + b"".join(digests)).digest()
