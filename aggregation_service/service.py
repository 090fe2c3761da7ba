"""What an app holds: the database, the coordinator, the configuration.

A process starts also while the database is away, for others may be healthy: it refuses what it is asked until it has
seen the database's tables.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from typing import cast

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import current_app, g, request
from sqlalchemy.exc import OperationalError

from aggregation_service.clock import Clock, FileClock, SystemClock
from aggregation_service.config import ServiceConfig, load_signing_key
from aggregation_service.coordination.coordinator import Coordinator
from aggregation_service.coordination.leading import LeaderSettings
from aggregation_service.coordination.running import CoordinatorThread
from aggregation_service.identity.attestation import AttestationVerifier, SignedJwtVerifier
from aggregation_service.logs import log
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.database import Database, check_is_current
from aggregation_service.storage.leadership import Leadership
from aggregation_service.storage.models import has_population

EXTENSION = "keychorus"

RETRY_AFTER_S = 5
"""When somebody may ask again whose request came while the database was away."""

_FOR_MACHINES = frozenset({"health", "metrics"})
"""The blueprints that answer whatever the database does."""


class Candidate:
    """Leads if nobody else does, but not before it has seen that the database's tables are this version's."""

    def __init__(self, database: Database, coordinator: Coordinator) -> None:
        self._database = database
        self._coordinator = coordinator
        self.has_seen_tables = False

    def tick(self) -> bool:
        """As `Coordinator.tick`.

        Raises:
          OutdatedDatabase: the tables are another version's.
          SQLAlchemyError: the database failed.

        """
        if not self.has_seen_tables:
            check_is_current(self._database)
            self.has_seen_tables = True
        return self._coordinator.tick()


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One of the service's processes. `thread` leads in the background; it runs only in a server, once started.

    By `public_key` devices know the service: it verifies what the service signs.
    """

    config: ServiceConfig
    public_key: Ed25519PublicKey
    database: Database
    coordinator: Coordinator
    candidate: Candidate
    thread: CoordinatorThread
    attestation: AttestationVerifier | None = None

    def close(self) -> None:
        """Lets another process lead, and closes the database. What this process summed is stored already."""
        self.thread.stop()
        self.coordinator.close()
        self.database.close()


def start_service(config: ServiceConfig) -> Service:
    """Opens everything that `config` names, and leads if nobody else does.

    If the database cannot be reached the service refuses all requests (`refuse_without_tables`) until its thread, once
    started, has reached it.

    Raises:
      ConfigError: no signing key, or one that others may read; a broken attestation key.
      OutdatedDatabase: the database was not migrated.

    """
    key = load_signing_key(config.signing_key_path)
    attestation = None if config.attestation is None else SignedJwtVerifier(config.attestation)
    database = Database(config.database_url)
    try:
        settings = LeaderSettings(signing_key=key, privacy_delta=config.privacy_delta)
        coordinator = _coordinator(config, database, settings)
        candidate = Candidate(database, coordinator)
        candidate.tick()
    except (OperationalError, psycopg.OperationalError) as error:  # an exit would make gunicorn end healthy workers too
        log.error("database_unreachable", exc_info=error)
    except Exception:
        database.close()
        raise
    return Service(
        config=config,
        public_key=key.public_key(),
        database=database,
        coordinator=coordinator,
        candidate=candidate,
        thread=CoordinatorThread(candidate),
        attestation=attestation,
    )


def clock_of(config: ServiceConfig) -> Clock:
    """The clock that the configuration asks for."""
    return SystemClock() if config.clock_path is None else FileClock(config.clock_path)


def current_service() -> Service:
    """The service of the request's app."""
    return cast(Service, current_app.extensions[EXTENSION])


def refuse_without_tables() -> None:
    """Before a request: checks that the database was seen since this process started, and is this version's.

    Raises:
      Refused: UNAVAILABLE: it was not; monitoring is served nevertheless.

    """
    if not current_service().candidate.has_seen_tables and request.blueprint not in _FOR_MACHINES:
        raise unavailable("the service has not reached its database yet; try again")


def unavailable(detail: str) -> Refused:
    """The refusal of a request that will be welcome once the database is back."""
    return Refused(RefusalKind.UNAVAILABLE, detail, {"Retry-After": str(RETRY_AFTER_S)})


def require_population(name: str) -> None:
    """Checks that a request's population exists; its refusals are counted under it from here on.

    Raises:
      Refused: it does not.

    """
    with current_service().database.read() as connection:
        if not has_population(connection, name):
            raise Refused(RefusalKind.UNKNOWN_POPULATION, "there is no such population")
    g.population = name


def _coordinator(config: ServiceConfig, database: Database, settings: LeaderSettings) -> Coordinator:
    clock = clock_of(config)
    holder = f"{socket.gethostname()[:100]}:{os.getpid()}"
    leadership = Leadership(database, holder, clock)
    return Coordinator(database, clock, leadership, settings, secrets.SystemRandom().random)
