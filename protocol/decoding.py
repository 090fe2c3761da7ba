"""Strict JSON decoding whose errors repeat nothing of what was received."""

import re
from typing import TypeVar

import msgspec

from protocol.errors import MalformedMessage

_PLACE = re.compile(r" - at `(\$[a-z0-9_.\[\]]{0,80})`\Z")
DecodedT = TypeVar("DecodedT")


def decode_json(payload: bytes, decoded_type: type[DecodedT], name: str) -> DecodedT:
    """Decodes `payload` as `decoded_type`.

    Args:
      payload: hostile until decoded.
      decoded_type: a msgspec struct or a union of them.
      name: of it, for the error.

    Raises:
      MalformedMessage: not JSON, or not of that type. It names the place of a value at most: msgspec's own text also
        quotes unknown fields and invalid tags, which the other side chose, line breaks included.

    """
    try:
        return msgspec.json.decode(payload, type=decoded_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # An unknown field's own name may look like a place.
        place = None if "unknown field" in str(error) else _PLACE.search(str(error))
        where = f" (at {place[1]})" if place else ""
        raise MalformedMessage(f"not a valid {name}{where}") from None
