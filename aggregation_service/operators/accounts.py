"""Accounts of the people who run the service: a name, an argon2 hash, a role."""

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Row, select, update

from aggregation_service import audit
from aggregation_service.storage.database import Database
from aggregation_service.storage.tables import operators

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 1024

RESERVED_NAMES = frozenset({"anonymous", "gate", "service"})
"""Who else acts in the audit log. The command line's actors cannot be taken either: they have a colon."""

_NAME = re.compile("[a-z][a-z0-9._-]{0,31}")
_HASHER = PasswordHasher()  # argon2id with the second recommended parameters of RFC 9106: 64 MiB, 3 passes
_ONE_AT_A_TIME = threading.Lock()
"""Passwords are checked one after the other: many logins at once must not take 64 MiB each."""


class AccountError(ValueError):
    """Something about an account that cannot be done. The message says why, in one sentence."""


class Role(StrEnum):
    """What an operator may do: `VIEWER` sees everything and changes nothing, `OPERATOR` may change it too."""

    VIEWER = "viewer"
    OPERATOR = "operator"

    def includes(self, needed: "Role") -> bool:
        """Whether who has this role may do what `needed` may.

        Example:
          >>> Role.OPERATOR.includes(Role.VIEWER), Role.VIEWER.includes(Role.OPERATOR)
          (True, False)

        """
        return self is Role.OPERATOR or needed is Role.VIEWER


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """One account, without its hash.

    Attributes:
      name: also the actor in the audit log.
      fingerprint: changes with the password; a session that was begun with another has ended.
      disabled: whether the account may no longer log in.

    """

    name: str
    role: Role
    fingerprint: str
    disabled: bool


def add_operator(connection: Connection, name: str, *, password: str, role: Role, actor: str, now: float) -> None:
    """Makes an account.

    Raises:
      AccountError: it exists, its name is one of `RESERVED_NAMES` or not of a-z, 0-9, '.', '_' and '-', or the password
        is too short or long.

    """
    if not _NAME.fullmatch(name):
        raise AccountError(
            f"an operator's name must begin with a-z and be of a-z, 0-9, '.', '_' and '-', at most 32, got {name!r}"
        )
    if name in RESERVED_NAMES:
        raise AccountError(f"an operator's name must not be one by which the service itself acts, got {name}")
    if find_operator(connection, name) is not None:
        raise AccountError(f"operator {name} exists already")
    row = {"name": name, "password_hash": _hash(password), "role": role.value, "created_at": now}
    connection.execute(operators.insert().values(row))
    _record(connection, actor, "operator.added", name, now, role=role.value)


def set_password(connection: Connection, name: str, *, password: str, actor: str, now: float) -> None:
    """Gives an account another password, which ends its sessions.

    Raises:
      AccountError: there is no such account, or the password is too short or long.

    """
    _require(connection, name)
    _update(connection, name, password_hash=_hash(password))
    _record(connection, actor, "operator.password_changed", name, now)


def disable(connection: Connection, name: str, *, actor: str, now: float) -> None:
    """Takes an account's access away, from its open sessions too. The account stays: the audit log names it.

    Raises:
      AccountError: there is no such account.

    """
    _require(connection, name)
    _update(connection, name, disabled_at=now)
    _record(connection, actor, "operator.disabled", name, now)


def enable(connection: Connection, name: str, *, actor: str, now: float) -> None:
    """Gives a disabled account its access back.

    Raises:
      AccountError: there is no such account.

    """
    _require(connection, name)
    _update(connection, name, disabled_at=None)
    _record(connection, actor, "operator.enabled", name, now)


def find_operator(connection: Connection, name: str) -> Operator | None:
    """An account by its name, disabled or not; None where there is none."""
    row = _find(connection, name)
    return None if row is None else _operator(row)


def list_operators(connection: Connection) -> Sequence[Operator]:
    """All accounts, by name."""
    return [_operator(row) for row in connection.execute(select(operators).order_by(operators.c.name))]


def check_password(database: Database, name: str, password: str) -> Operator | None:
    """Checks a login.

    Returns:
      The account; None if there is none of this name, it is disabled, or the password is another.

    Guarantees:
      Takes as long for a name that is not known as for one that is. A hash of older parameters is made anew.

    """
    with database.read() as connection:
        row = _find(connection, name)
    with _ONE_AT_A_TIME:
        if row is None:
            _HASHER.hash(password[:MAX_PASSWORD_CHARACTERS])  # as much work as to verify one
            return None
        if not _matches(row.password_hash, password):
            return None
    operator = _operator(row)
    if operator.disabled:
        return None
    return _rehash(database, operator, password) if _HASHER.check_needs_rehash(row.password_hash) else operator


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password[:MAX_PASSWORD_CHARACTERS])
    except (VerificationError, InvalidHashError):
        return False


def _rehash(database: Database, operator: Operator, password: str) -> Operator:
    with database.write() as connection:
        _update(connection, operator.name, password_hash=_HASHER.hash(password))
        return _operator(_require(connection, operator.name))


def _hash(password: str) -> str:
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise AccountError(
            f"a password must have {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters, "
            f"got {len(password)}"
        )
    return _HASHER.hash(password)


def _find(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(select(operators).where(operators.c.name == name)).one_or_none()


def _require(connection: Connection, name: str) -> Row[Any]:
    row = _find(connection, name)
    if row is None:
        raise AccountError(f"there is no operator {name}; `keychorus service operator list` names them")
    return row


def _update(connection: Connection, name: str, **values: object) -> None:
    connection.execute(update(operators).where(operators.c.name == name).values(**values))


def _operator(row: Row[Any]) -> Operator:
    return Operator(
        name=row.name,
        role=Role(row.role),
        fingerprint=hashlib.sha256(row.password_hash.encode()).hexdigest()[:16],
        disabled=row.disabled_at is not None,
    )


def _record(connection: Connection, actor: str, action: str, name: str, now: float, **details: object) -> None:
    audit.record(connection, actor=actor, action=action, subject=name, details=details, now=now)
