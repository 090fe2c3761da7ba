"""The ledger's hash chain: each row is sealed to the one before, so that none can be changed or left out unnoticed.

A row's hash is the SHA-256 of the canonical JSON array `[population, event, recorded_at, previous]`, where `event` is
the row's text as it stands; the first row's `previous` is 64 zeros. One chain holds the rows of all populations. Who
can write to the database could write the whole chain anew, or cut off its end: so the newest hash, the head, is kept
somewhere else (a line `ledger_head` in the service's log tells each, `keychorus privacy verify` prints the newest).
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from aggregation_service.privacy.ledger import UnknownEvent

GENESIS = "0" * 64
"""What stands for the hash before the first row, and is the head of an empty ledger."""


class BrokenLedger(UnknownEvent):
    """The ledger is not what was written: a row was changed, left out, moved, put in, or cut off."""


class LedgerRow(NamedTuple):
    """One row as stored. `recorded_at` is in seconds since 1970 by the service's clock."""

    id: int
    population: str
    event: str
    recorded_at: float
    previous_sha256: str
    sha256: str


def row_hash(population: str, event: str, recorded_at: float, previous_sha256: str) -> str:
    """What seals a row to all before it, as 64 hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode([population, event, recorded_at, previous_sha256])).hexdigest()


def check_chain(rows: Iterable[LedgerRow], head: str | None = None) -> str:
    """Checks the whole chain.

    Args:
      rows: all of them, of every population, by their ids.
      head: a hash that was the newest once; None to leave the ledger's end unchecked.

    Returns:
      The newest hash, which covers all rows; `GENESIS` of an empty ledger.

    Guarantees:
      A row that was changed, deleted, moved or inserted is found; with `head`, rows cut off the end that it covers are
      found, and a chain that was written anew.

    Raises:
      BrokenLedger: names the first row that does not fit, or says that `head` is not in the ledger.

    """
    previous, found = GENESIS, head in (None, GENESIS)
    for row in rows:
        if row.previous_sha256 != previous:
            raise BrokenLedger(f"row {row.id} does not follow the row before it: one was deleted, moved or inserted")
        previous = row_hash(row.population, row.event, row.recorded_at, previous)
        if row.sha256 != previous:
            raise BrokenLedger(f"row {row.id} was changed: its hash should be {previous}, got {row.sha256}")
        found = found or previous == head
    if not found:
        raise BrokenLedger(f"the ledger must contain the hash {head}, and does not: rows were cut off or written anew")
    return previous
