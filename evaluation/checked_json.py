"""Reports as JSON, checked both ways: structs of msgspec are checked when they are decoded, not when they are made."""

from typing import Any, TypeVar

import msgspec

_Report = TypeVar("_Report")


def encode_checked(report: Any, invalid: type[Exception], what: str) -> bytes:
    """Writes a report as indented JSON.

    Args:
      report: a struct of msgspec's.
      invalid: raised if a value is out of its bound, or not finite (NaN and infinity become null).
      what: it is, for the message.

    """
    payload = msgspec.json.encode(report)
    decode_checked(payload, type(report), invalid, what)
    return msgspec.json.format(payload, indent=2) + b"\n"


def decode_checked(payload: bytes, kind: type[_Report], invalid: type[Exception], what: str) -> _Report:
    """Reads what `encode_checked` wrote, or raises `invalid`."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"not a valid {what}: {error}") from None
