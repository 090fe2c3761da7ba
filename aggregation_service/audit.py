"""The audit log: who did what, append-only, each entry sealed to the one before by its hash.

An entry's hash is the SHA-256 of the canonical JSON array `[id, at, actor, action, subject, details, previous]`, where
`details` is the text of a JSON object with sorted names; the first entry's `previous` is 64 zeros. Who can write to the
database could write the whole chain anew: so the newest hash, the head, is kept somewhere else (a line `audit_head` in
the service's log tells each, and `keychorus service audit show` prints the newest), and `verify` is told it.
"""

import hashlib
import os
import pwd
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, String, event, func, select

from aggregation_service.logs import log_event
from aggregation_service.storage.tables import audit

GENESIS = "0" * 64
"""What stands for the hash before the first entry, and is the head of an empty log."""

_OLDEST_FIRST = select(audit).order_by(audit.c.id).execution_options(yield_per=1000)
_LENGTHS = {column.name: column.type.length or 0 for column in audit.columns if isinstance(column.type, String)}
_LOCK = 0x6B63_6175_6469_7400
"""The key of PostgreSQL's advisory lock: "kcaudit"."""


class BrokenChain(Exception):
    """The log is not what was written: an entry was changed, left out, moved, put in, or cut off."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry. `at` is in seconds since 1970 by the service's clock."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    details: dict[str, object]
    previous_sha256: str
    sha256: str


def record(
    connection: Connection, *, actor: str, action: str, subject: str, details: Mapping[str, object], now: float
) -> None:
    """Appends an entry, in the transaction of the action that it tells of: both are kept, or neither is.

    Call it last in the transaction: on PostgreSQL writers wait here for each other until they commit, on SQLite they
    did so when they began.

    Args:
      connection: a write transaction.
      actor: who; `machine_actor()` on the command line, the operator's name in a request.
      action: what, such as `policy.changed`.
      subject: to whom or what: a population, its release or its device as `POPULATION/ID`, an operator.
      details: what else there is to know, as JSON; no password, no token, no device beyond a revoked one.
      now: seconds since 1970.

    Raises:
      ValueError: `actor`, `action` or `subject` is empty or longer than its column.

    """
    for name, text in {"actor": actor, "action": action, "subject": subject}.items():
        if not 1 <= len(text) <= _LENGTHS[name]:
            raise ValueError(f"{name} must have 1 to {_LENGTHS[name]} characters, got {len(text)}")
    _wait_for_other_writers(connection)
    last = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(1)).one_or_none()
    number, previous = (1, GENESIS) if last is None else (last.id + 1, last.sha256)
    told = msgspec.json.encode(details, order="sorted").decode()
    values = {"id": number, "at": now, "actor": actor, "action": action, "subject": subject, "details": told}
    sha256 = _hash([*values.values(), previous])
    connection.execute(audit.insert().values(values | {"previous_sha256": previous, "sha256": sha256}))

    @event.listens_for(connection, "commit", once=True)
    def _tell_head(_connection: Connection) -> None:
        log_event("audit_head", entry=number, sha256=sha256)


def verify(connection: Connection, head: str | None = None) -> int:
    """Checks the whole chain.

    Args:
      connection: a transaction.
      head: a hash that was the newest once, as `head` returned it; None to leave the log's end unchecked.

    Returns:
      How many entries there are.

    Guarantees:
      An entry that was changed, deleted, moved or inserted is found; with `head`, entries cut off the end that it
      covers are found, and a chain that was written anew.

    Raises:
      BrokenChain: names the first entry that does not fit, or says that `head` is not in the log.

    """
    previous, found, number = GENESIS, head in (None, GENESIS), 0
    with connection.execute(_OLDEST_FIRST) as rows:
        for number, row in enumerate(rows, start=1):
            previous = _check(row, number, previous)
            found = found or previous == head
    if not found:
        raise BrokenChain(f"the log must contain the hash {head}, and does not: entries were cut off or written anew")
    return number


def head(connection: Connection) -> str:
    """The hash of the newest entry, which covers all entries before; `GENESIS` of an empty log."""
    newest = select(audit.c.sha256).order_by(audit.c.id.desc()).limit(1)
    return connection.scalar(newest) or GENESIS


def count(connection: Connection) -> int:
    """How many entries there are."""
    return connection.scalar(select(func.count()).select_from(audit)) or 0


def list_entries(connection: Connection, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
    """Entries, newest first.

    Args:
      connection: a transaction.
      before: only entries with a smaller id, to page through the log; None for the newest.
      limit: at most so many.

    """
    newest = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        newest = newest.where(audit.c.id < before)
    return [_entry(row) for row in connection.execute(newest)]


def newest_of(connection: Connection, action: str) -> AuditEntry | None:
    """The newest entry of an action; None where there is none."""
    newest = select(audit).where(audit.c.action == action).order_by(audit.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else _entry(row)


def machine_actor() -> str:
    """Who works on the command line: `cli:` and the login name on this machine, or the user's number without one.

    Asked of the system and not of the environment, which would name whomever its owner wants it to.
    """
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user need not have a name
        name = str(number)
    return f"cli:{name}"[: _LENGTHS["actor"]]


def _check(row: Row[Any], number: int, previous: str) -> str:
    """Checks one entry against its place in the chain, and returns its hash."""
    if row.id != number or row.previous_sha256 != previous:
        raise BrokenChain(f"entry {row.id} does not follow entry {number - 1}: one was deleted, moved or inserted")
    sha256 = _hash([row.id, row.at, row.actor, row.action, row.subject, row.details, previous])
    if row.sha256 != sha256:
        raise BrokenChain(f"entry {row.id} was changed: its hash should be {sha256}, got {row.sha256}")
    return sha256


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        details=msgspec.json.decode(row.details),
        previous_sha256=row.previous_sha256,
        sha256=row.sha256,
    )


def _hash(values: list[object]) -> str:
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()


def _wait_for_other_writers(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
