"""Whether a release's privacy statement says what the ledger says: every number is computed again.

A statement names the ledger's newest row of when it was written, so it is compared with what the rows up to that one
say, and with nothing else. Statements that older versions wrote name none: those are equal if they are what the ledger
said at any moment since the release was made.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection

from aggregation_service.privacy.ledger import LedgerEvent, decode_event
from aggregation_service.privacy.ledger_chain import GENESIS, check_chain
from aggregation_service.privacy.statement import (
    Circumstances,
    PrivacyStatement,
    make_statement,
    untrained_statement,
)
from aggregation_service.releases.statements import STATEMENT_FILE, check_closed_rounds, read_circumstances
from aggregation_service.storage import books
from aggregation_service.storage.files import find_content
from aggregation_service.storage.releases import ReleaseRecord
from protocol.manifest import check_content, open_manifest

RECOMPUTED = ("noise_multiplier", "l2_clip_norm", "cohort_sizes", "max_participations", "epsilon", "rho")
"""The numbers of a statement that follow from the ledger and the statement's delta; the rest is the plan's, or text."""

RECOMPUTED_SINCE = ("ledger_head", "secure_aggregation", "streams", "shares", "clipping", "released", "plan_sha256")
"""Besides, of a statement that names a row of the ledger: what follows from its rows and the tasks of their rounds."""

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

    Attributes:
      events: the population's.
      recorded_at: seconds since 1970 of each event.
      covered: how many of the events each row of the ledger covers, of whatever population it is, by the row's hash.
      head: the newest row's hash.
      circumstances: what the population's tasks say of its rounds.

    """

    events: tuple[LedgerEvent, ...]
    recorded_at: tuple[float, ...]
    covered: Mapping[str, int]
    head: str
    circumstances: Circumstances


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
    check_closed_rounds(connection, population, events)
    counts = accumulate((row.population == population for row in rows), initial=0)
    covered = dict(zip((GENESIS, *(row.sha256 for row in rows)), counts, strict=True))
    recorded_at = tuple(row.recorded_at for row in kept)
    return CheckedLedger(events, recorded_at, covered, newest, read_circumstances(connection, population))


def read_statement(connection: Connection, record: ReleaseRecord, key: Ed25519PublicKey) -> PrivacyStatement:
    """Reads the privacy statement of a release, as it was signed.

    Raises:
      ProtocolError: the release is not signed by `key`, or its statement is not the file that was signed.
      StatementMissing: there is no statement, or none that this version can read.

    """
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
      What is not equal; nothing if all is. Of a statement without `ledger_head`: to what the ledger said at the moment
      since the release was made that fits best.

    Raises:
      ProtocolError: the release is not signed by `key`, or its statement is not the file that was signed.
      StatementMissing: there is no statement, or none that this version can read.
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    stated = read_statement(connection, record, key)
    before = sum(1 for _ in takewhile(lambda at: at < record.created_at, ledger.recorded_at))
    if stated.ledger_head:
        return tuple(_compare(stated, ledger, before))
    return min(_tries(stated, ledger, before), key=len)


def _compare(stated: PrivacyStatement, ledger: CheckedLedger, before: int) -> Iterator[Difference]:
    """The differences to what the ledger said at its row that the statement names.

    A row that is not in the ledger, or older than what was booked before the release was made, is itself a difference.
    """
    covered = ledger.covered.get(stated.ledger_head, -1)
    head = stated.ledger_head if covered >= before else _first_head(ledger, before)
    recomputed = _state(stated, ledger, max(covered, before), head)
    yield from _differences(stated, recomputed, (*RECOMPUTED, *RECOMPUTED_SINCE))


def _first_head(ledger: CheckedLedger, count: int) -> str:
    """The first row that covers so many events."""
    return next(sha256 for sha256, covered in ledger.covered.items() if covered >= count)


def _tries(stated: PrivacyStatement, ledger: CheckedLedger, before: int) -> Iterator[tuple[Difference, ...]]:
    """The differences at each moment since the release was made; ends with the first moment without any."""
    for count in range(before, len(ledger.events) + 1):
        recomputed = _state(stated, ledger, count, "")
        found = tuple(_differences(stated, recomputed, RECOMPUTED))
        yield found
        if not found or len(recomputed.cohort_sizes) > len(stated.cohort_sizes):
            return


def _state(stated: PrivacyStatement, ledger: CheckedLedger, count: int, head: str) -> PrivacyStatement:
    """What the statement should say of the first `count` events, with the newest task that it had."""
    if not count:
        return untrained_statement(stated.delta, ledger_head=head)
    then = replace(
        ledger.circumstances, report_goal=stated.report_goal, minimum_separation_s=stated.minimum_separation_s
    )
    return make_statement(ledger.events[:count], then, delta=stated.delta, ledger_head=head)


def _differences(stated: PrivacyStatement, recomputed: PrivacyStatement, names: Iterable[str]) -> Iterator[Difference]:
    for name in names:
        ours, theirs = getattr(recomputed, name), getattr(stated, name)
        if not _is_equal(msgspec.to_builtins(ours), msgspec.to_builtins(theirs)):
            yield Difference(name=name, stated=theirs, recomputed=ours)


def _is_equal(ours: Any, theirs: Any) -> bool:
    """Whether two values as JSON has them are the same but for what a search or a sum may round."""
    match ours, theirs:
        case float(), float():
            return math.isclose(ours, theirs, rel_tol=_TOLERANCE)
        case dict(), dict():
            return ours.keys() == theirs.keys() and all(_is_equal(ours[name], theirs[name]) for name in ours)
        case ((list() | tuple()), (list() | tuple())):
            return len(ours) == len(theirs) and all(map(_is_equal, ours, theirs))
        case _:
            return bool(ours == theirs)
