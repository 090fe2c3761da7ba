"""Whether a release's privacy statement says what the ledger says: every number is computed again.

A statement does not name the rows of the ledger that it was made from. So it is equal if it is what the ledger said at
any moment since the release was made: some first rows of it, all those among them that were there before.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, select

from aggregation_service.privacy.ledger import LedgerEvent, ReleasesLost, decode_event
from aggregation_service.privacy.ledger_chain import BrokenLedger, check_chain
from aggregation_service.privacy.statement import PrivacyStatement, make_statement, untrained_statement
from aggregation_service.releases.statements import STATEMENT_FILE
from aggregation_service.rounds.state import Phase
from aggregation_service.storage import books
from aggregation_service.storage.files import find_content
from aggregation_service.storage.releases import ReleaseRecord
from aggregation_service.storage.tables import rounds
from protocol.manifest import check_content, open_manifest

RECOMPUTED = ("noise_multiplier", "l2_clip_norm", "cohort_sizes", "max_participations", "epsilon", "rho")
"""The numbers of a statement that follow from the ledger and the statement's delta; the rest is the plan's, or text."""

_TOLERANCE = 1e-6
"""Relative: ε is found by a search, which another version of a library may end elsewhere."""


class StatementMissing(Exception):
    """A release without a statement that could be read."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a statement that is not what the ledger says; None means no guarantee."""

    name: str
    stated: object
    recomputed: object


class CheckedLedger(NamedTuple):
    """One population's part of a ledger whose whole chain was checked, oldest first.

    `recorded_at` has the seconds since 1970 of each event; `head` covers the rows of all populations.
    """

    events: tuple[LedgerEvent, ...]
    recorded_at: tuple[float, ...]
    head: str


def check_ledger(connection: Connection, population: str, head: str | None = None) -> CheckedLedger:
    """Reads a population's ledger, and checks that nothing in it was changed and nothing is missing.

    Args:
      connection: a transaction.
      population: an existing one.
      head: a hash that was the ledger's newest once; None to check its end by the rounds that closed, and no more.

    Raises:
      BrokenLedger: a row of any population was changed, deleted, moved, inserted or cut off, or a round of this one
        closed without one.
      UnknownEvent: a row that this version cannot read.

    """
    rows = books.ledger_rows(connection)
    newest = check_chain(rows, head)
    kept = [row for row in rows if row.population == population]
    events = tuple(decode_event(row.event) for row in kept)
    _check_closed_rounds(connection, population, events)
    return CheckedLedger(events, tuple(row.recorded_at for row in kept), newest)


def verify_statement(
    connection: Connection, record: ReleaseRecord, ledger: CheckedLedger, key: Ed25519PublicKey
) -> tuple[Difference, ...]:
    """Computes the numbers of a release's privacy statement again.

    Args:
      connection: a transaction.
      record: the release.
      ledger: of its population, read in the same transaction.
      key: the service's, which the release must be signed with.

    Returns:
      What is not equal, of the moment since the release was made that fits best; nothing if all is.

    Raises:
      ProtocolError: the release is not signed by `key`, or its statement is not the file that was signed.
      StatementMissing: there is no statement, or none that this version can read.
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    stated = _read_statement(connection, record, key)
    return min(_tries(stated, record, ledger), key=len)


def _tries(stated: PrivacyStatement, record: ReleaseRecord, ledger: CheckedLedger) -> Iterator[tuple[Difference, ...]]:
    """The differences at each moment since the release was made; ends with the first moment without any."""
    before = sum(1 for _ in takewhile(lambda at: at < record.created_at, ledger.recorded_at))
    for count in range(before, len(ledger.events) + 1):
        recomputed = _state(ledger.events[:count], stated)
        found = tuple(_differences(stated, recomputed))
        yield found
        if not found or len(recomputed.cohort_sizes) > len(stated.cohort_sizes):
            return


def _state(events: Sequence[LedgerEvent], stated: PrivacyStatement) -> PrivacyStatement:
    if not events:
        return untrained_statement(stated.delta)
    return make_statement(
        events,
        report_goal=stated.report_goal,
        minimum_separation_s=stated.minimum_separation_s,
        delta=stated.delta,
    )


def _differences(stated: PrivacyStatement, recomputed: PrivacyStatement) -> Iterator[Difference]:
    for name in RECOMPUTED:
        ours, theirs = getattr(recomputed, name), getattr(stated, name)
        if not _is_equal(ours, theirs):
            yield Difference(name=name, stated=theirs, recomputed=ours)


def _is_equal(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=_TOLERANCE)
    return ours == theirs


def _read_statement(connection: Connection, record: ReleaseRecord, key: Ed25519PublicKey) -> PrivacyStatement:
    manifest = open_manifest(record.manifest, key, purpose="release", population=record.population)
    entry = manifest.files.get(STATEMENT_FILE)
    content = None if entry is None else find_content(connection, entry.sha256)
    if entry is None or content is None:
        raise StatementMissing(f"release {record.id} has no file {STATEMENT_FILE}")
    try:
        statement = msgspec.json.decode(check_content(content, entry), type=PrivacyStatement)
    except msgspec.DecodeError as error:
        raise StatementMissing(f"the privacy statement of release {record.id} cannot be read: {error}") from None
    if not 0 < statement.delta < 1:
        raise StatementMissing(
            f"delta of release {record.id}'s privacy statement must be in (0, 1), got {statement.delta}"
        )
    return statement


def _check_closed_rounds(connection: Connection, population: str, events: Iterable[LedgerEvent]) -> None:
    """A round closes after its event was committed; so a closed round without one shows that the end was cut off."""
    booked = {event.round_id for event in events if not isinstance(event, ReleasesLost)}
    closed = (rounds.c.population == population) & (rounds.c.phase == Phase.CLOSED.value)
    for row in connection.execute(select(rounds.c.id, rounds.c.number).where(closed).order_by(rounds.c.number)):
        if row.id not in booked:
            raise BrokenLedger(f"round {row.number} of {population} closed, and the ledger has no row of it")
