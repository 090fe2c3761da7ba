"""The staged roll-out: which device is offered which release."""

import hashlib

from sqlalchemy import Connection

from aggregation_service.storage.releases import ReleaseRecord, current_release, list_releases

_BUCKETS = 10_000


def is_in_rollout(release_id: int, percent: int, device_id: str) -> bool:
    """Whether a device is among the `percent` of all that a release is offered to.

    Guarantees:
      Whoever is in stays in as the percentage grows; 0 is nobody, 100 is everybody. Another release draws other devices
      first, so that nobody tries everything out for the others.

    """
    digest = hashlib.sha256(f"{release_id}/{device_id}".encode()).digest()
    return int.from_bytes(digest, "big") % _BUCKETS < percent * (_BUCKETS // 100)


def offered_release(connection: Connection, population: str, device_id: str | None) -> ReleaseRecord | None:
    """The newest release whose roll-out covers a device; None if there is none.

    Args:
      connection: a transaction.
      population: the device's.
      device_id: None for whoever did not say, who is offered only what everybody is.

    """
    if device_id is None:
        return current_release(connection, population)
    for release in list_releases(connection, population, "released"):
        if is_in_rollout(release.id, release.rollout_percent, device_id):
            return release
    return None
