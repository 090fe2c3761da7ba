"""What a ledger had cost after each of its events, for those who look at it again and again.

A stream is accounted as a whole, so what one more step adds is known only by accounting all steps anew. A ledger only
grows: what its first events cost is remembered by their digest, and a page costs only what is new.
"""

import hashlib
from collections.abc import Sequence

from aggregation_service.privacy.accounting import PrivacySpent, spent_on_worst_device
from aggregation_service.privacy.ledger import LedgerEvent, ReleasesLost, encode_event

_MOST_REMEMBERED = 1 << 16  # 20 MB of a process; rounds of several years
_remembered: dict[tuple[bytes, float], PrivacySpent] = {}


def spent_after_each(events: Sequence[LedgerEvent], delta: float) -> list[PrivacySpent]:
    """`spent_on_worst_device` of the first event, of the first two, and so on to all of them.

    Args:
      events: one population's ledger, oldest first.
      delta: in (0, 1).

    Raises:
      UnknownEvent: the ledger contradicts itself.
      ValueError: `delta` is not in (0, 1).

    """
    digest = hashlib.sha256()
    spent = []
    for count, event in enumerate(events, 1):
        digest.update(encode_event(event).encode() + b"\n")
        key = (digest.digest(), delta)
        found = _remembered.get(key)
        if found is None:
            found = spent_on_worst_device(events[:count], delta)
            _remember(key, found)
        spent.append(found)
    return spent


def spent_by_round(events: Sequence[LedgerEvent], delta: float) -> dict[str, PrivacySpent]:
    """What had been spent by the end of each round that released something, by its id, in the ledger's order.

    Raises:
      UnknownEvent: the ledger contradicts itself.
      ValueError: `delta` is not in (0, 1).

    """
    after = spent_after_each(events, delta)
    told = zip(events, after, strict=True)
    return {event.round_id: spent for event, spent in told if not isinstance(event, ReleasesLost)}


def _remember(key: tuple[bytes, float], spent: PrivacySpent) -> None:
    if len(_remembered) >= _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[key] = spent
