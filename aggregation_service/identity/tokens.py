"""Enrolment tokens: an operator's rights to enrol, each good for some devices and some days. Functions on the table."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.tables import enrolment_tokens

_TOKEN_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentToken:
    """What is known of a token: everything but the token.

    Attributes:
      id: its number, by which operators name it.
      uses_left: how many devices it may still enrol; 0 once it was revoked.
      expires_at: seconds since 1970.
      created_by: which operator made it.
      created_at: seconds since 1970.

    """

    id: int
    uses_left: int
    expires_at: float
    created_by: str
    created_at: float


def add(
    connection: Connection, population: str, *, uses: int, expires_at: float, created_by: str, now: float
) -> tuple[int, str]:
    """Makes a token.

    Returns:
      Its number, and the token itself: 256 random bits in hexadecimal, which are kept nowhere.

    """
    token = secrets.token_hex(_TOKEN_BYTES)
    row = {
        "population": population,
        "token_sha256": _sha256(token),
        "uses_left": uses,
        "expires_at": expires_at,
        "created_by": created_by,
        "created_at": now,
    }
    inserted = connection.execute(enrolment_tokens.insert().values(row).returning(enrolment_tokens.c.id))
    return inserted.scalar_one(), token


def spend(connection: Connection, population: str, token: str, now: float) -> int:
    """Takes one use of a token, in the very transaction that enrols a device.

    Guarantees:
      a token enrols no more devices than it has uses, however many transactions race for the last: the row is counted
      down by one statement, which locks it.

    Returns:
      The token's number.

    Raises:
      Refused: ENROLMENT_REFUSED: no token of this population, used up, revoked or expired; which, is not told.

    """
    table = enrolment_tokens.c
    spent = (
        update(enrolment_tokens)
        .where(table.population == population, table.token_sha256 == _sha256(token))
        .where(table.uses_left > 0, table.expires_at > now)
        .values(uses_left=table.uses_left - 1)
        .returning(table.id)
    )
    token_id: int | None = connection.execute(spent).scalar_one_or_none()
    if token_id is None:
        raise Refused(RefusalKind.ENROLMENT_REFUSED, "the enrolment token must be a valid one of this population")
    return token_id


def list_all(connection: Connection, population: str) -> list[EnrolmentToken]:
    """All tokens of a population, oldest first, used up and expired ones included."""
    table = enrolment_tokens.c
    columns = (table.id, table.uses_left, table.expires_at, table.created_by, table.created_at)
    rows = connection.execute(select(*columns).where(table.population == population).order_by(table.id))
    return [
        EnrolmentToken(
            id=row.id,
            uses_left=row.uses_left,
            expires_at=row.expires_at,
            created_by=row.created_by,
            created_at=row.created_at,
        )
        for row in rows
    ]


def revoke(connection: Connection, population: str, token_id: int) -> bool:
    """Takes all uses that a token has left. Devices that it enrolled stay enrolled.

    Returns:
      False if the population has no such token.

    """
    table = enrolment_tokens.c
    revoked = update(enrolment_tokens).where(table.population == population, table.id == token_id).values(uses_left=0)
    return connection.execute(revoked).rowcount == 1


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
