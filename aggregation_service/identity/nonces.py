"""Nonces of signed requests: a request is served once, however often it is sent."""

from sqlalchemy import Connection, delete

from aggregation_service.identity.caller import Caller
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.inserting import insert_unless_present
from aggregation_service.storage.tables import nonces


def spend(connection: Connection, caller: Caller) -> None:
    """Spends the nonce of a request, in the very transaction of what the request allows.

    Guarantees:
      of all transactions that spend it, however they race, at most one commits.

    Raises:
      Refused: REPEATED_NONCE: it was spent before.

    """
    row = {"device_id": caller.device_id, "nonce": caller.nonce, "expires_at": caller.expires_at}
    if not insert_unless_present(connection, nonces, row):
        raise Refused(RefusalKind.REPEATED_NONCE, "a signed request is served once, and this one was before")


def forget_expired(connection: Connection, now: float) -> int:
    """Deletes the nonces of requests that would be refused for their age by now, by the clock of any host.

    Returns:
      How many there were.

    """
    return connection.execute(delete(nonces).where(nonces.c.expires_at < now)).rowcount
