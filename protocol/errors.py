"""Errors of the trust boundary: whatever is wrong with bytes from the other side becomes one of these."""


class ProtocolError(Exception):
    """Bytes, or what they say, that the protocol does not allow. Messages never quote payloads."""


class MalformedMessage(ProtocolError):
    """Bytes that are not the message they should be: bad encoding, unknown field, value out of its bound."""


class WrongSignature(ProtocolError):
    """A manifest that is unsigned, signed by another key, or changed after it was signed."""


class WrongManifest(ProtocolError):
    """A genuine manifest that does not belong here: other population, other purpose, or an older version."""


class WrongContent(ProtocolError):
    """A file whose size or SHA-256 is not what its manifest says, or whose tensors do not fit the plan."""


class NonFiniteUpdate(ProtocolError):
    """An update that carries NaN or infinity: a diverged training run must never reach the sum."""
