"""The messages of the HTTP API, typed and strictly decoded.

Every message is JSON, carries no text that anybody typed, and refuses unknown fields. Which party sends a message is
said in its docstring; `protocol/README.md` lists them in the order of a round.
"""

from typing import Annotated, Literal, TypeVar

import msgspec

from protocol.decoding import decode_json
from protocol.errors import MalformedMessage
from protocol.manifest import SignedManifest

PROTOCOL_VERSION: Literal[1] = 1
MAX_MESSAGE_BYTES = 64 * 1024

Identifier = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
"""128 random bits in hexadecimal: devices, rounds and assignments are named so."""

Token = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""256 random bits in hexadecimal: proof that its bearer was given the assignment."""

PopulationName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=366 * 24 * 3600)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all messages. msgspec inherits these settings but `kw_only`; type checkers want `frozen` repeated too."""


class CheckIn(Message, frozen=True, kw_only=True):
    """Device to service: I am idle, charging and unmetered, and have examples to train on.

    `discovers_words` says that the device's owner allows votes for new words: others are in no round that asks for any.
    Where they do not, nothing of a check-in shows that the field exists.
    """

    protocol_version: Literal[1] = PROTOCOL_VERSION
    device_id: Identifier
    runtime: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    num_examples: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
    discovers_words: Literal[True] | msgspec.UnsetType = msgspec.UNSET


class Selected(Message, frozen=True, kw_only=True, tag_field="kind", tag="selected"):
    """Service to device: you are in the cohort of this round; report before the deadline."""

    round_id: Identifier
    assignment_id: Identifier
    assignment_token: Token
    report_within_s: Seconds
    manifest: SignedManifest


class ComeBack(Message, frozen=True, kw_only=True, tag_field="kind", tag="come_back"):
    """Service to device: not now; check in again after this many seconds (pace steering)."""

    reconnect_after_s: Seconds
    reason: Literal["no_task", "no_round", "cohort_full", "minimum_separation", "too_few_examples"]


CheckInAnswer = Selected | ComeBack


class Receipt(Message, frozen=True, kw_only=True):
    """Service to device: your report is counted, exactly once."""

    assignment_id: Identifier
    reconnect_after_s: Seconds


class Problem(Message, frozen=True, kw_only=True):
    """Service to device: the body of every refusal (RFC 9457, `application/problem+json`)."""

    type: str
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str


MessageT = TypeVar("MessageT")


def encode_message(message: msgspec.Struct) -> bytes:
    """Encodes any message of this module as JSON."""
    return msgspec.json.encode(message)


def decode_message(payload: bytes, message_type: type[MessageT]) -> MessageT:
    """Decodes `payload` strictly as `message_type`, which may be a union such as `CheckInAnswer`.

    Raises:
      MalformedMessage: too long, not JSON, unknown or missing field, or a value out of its bound.

    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"a message must have at most {MAX_MESSAGE_BYTES} bytes, got {len(payload)}")
    return decode_json(payload, message_type, getattr(message_type, "__name__", "message"))
