"""Sessions that a logout has ended. A cookie that somebody copied before is worth nothing after it.

A session's cookie holds all there is to know of a session, so only those that were ended need a place: beside the
nonces of devices' requests, which are spent in the same way, and forgotten in the same way once they have expired.
"""

import secrets

from sqlalchemy import Connection, select

from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import nonces

_OWNER = "operator session"
"""Stands where a device's id does; no device can have it."""


def new_session_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


def end_session(connection: Connection, session_id: str, expires_at: float) -> None:
    """Ends a session for good; `expires_at`, in seconds since 1970, is when it would have ended by itself."""
    row = {"device_id": _OWNER, "nonce": session_id, "expires_at": expires_at}
    insert_unless_present(connection, nonces, row)


def has_ended(connection: Connection, session_id: str) -> bool:
    """Whether `end_session` was called for it, in whatever process."""
    ended = select(nonces.c.nonce).where(nonces.c.device_id == _OWNER, nonces.c.nonce == session_id)
    return connection.scalar(ended) is not None
