"""What can be wrong with a message of secure aggregation, or with the moment at which it comes.

Bytes that are no message at all are `protocol.errors.MalformedMessage`, as everywhere. Messages never quote keys, seeds
or shares.
"""

from protocol.errors import ProtocolError


class SecureAggregationError(ProtocolError):
    """The session cannot go on with what was received; the device drops out, the service goes on without it."""


class BadPoint(SecureAggregationError):
    """A public key that is no X25519 key: wrong length, not in canonical form, or of low order."""


class BadShare(SecureAggregationError):
    """A share of a secret that is truncated or no field element, or shares that are not of one 32-byte secret."""


class TooFewShares(SecureAggregationError):
    """Fewer shares of a secret than its threshold: nothing can be said about it."""


class BadSeal(SecureAggregationError):
    """Sealed shares that were changed, or sealed by another member, for another one, or in another session."""


class WrongSession(SecureAggregationError):
    """A genuine message of another round, task or group."""


class WrongBundle(SecureAggregationError):
    """A bundle of keys whose signature is not by its device, or that repeats the keys or identity of another."""


class WrongRoster(SecureAggregationError):
    """A list of members that is too short, lacks this device or changed its keys."""


class WeakParameters(SecureAggregationError):
    """A graph or threshold below what the device demands for a group of this size."""


class WrongSurvivors(SecureAggregationError):
    """A list of survivors that is under the threshold, lacks this device or names others than members."""


class StageSpent(SecureAggregationError):
    """A stage asked for its answer a second time: two answers could unmask a single update."""
