"""What an app holds: the database, the coordinator, the configuration."""

import os
import secrets
import socket
from dataclasses import dataclass
from typing import cast

from flask import current_app, g

from aggregation_service.clock import Clock, FileClock, SystemClock
from aggregation_service.config import ServiceConfig, load_signing_key
from aggregation_service.coordination.coordinator import Coordinator
from aggregation_service.coordination.leading import LeaderSettings
from aggregation_service.coordination.running import CoordinatorThread
from aggregation_service.identity.attestation import AttestationVerifier, SignedJwtVerifier
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.database import Database, check_is_current
from aggregation_service.storage.leadership import Leadership
from aggregation_service.storage.models import has_population

EXTENSION = "keychorus"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One of the service's processes. `thread` leads in the background; it runs only in a server, once started."""

    config: ServiceConfig
    database: Database
    coordinator: Coordinator
    thread: CoordinatorThread
    attestation: AttestationVerifier | None = None

    def close(self) -> None:
        """Lets another process lead, and closes the database. What this process summed is stored already."""
        self.thread.stop()
        self.coordinator.close()
        self.database.close()


def start_service(config: ServiceConfig) -> Service:
    """Opens everything that `config` names, and leads if nobody else does.

    Raises:
      ConfigError: no signing key, or one that others may read; a broken attestation key.
      OutdatedDatabase: the database was not migrated.

    """
    key = load_signing_key(config.signing_key_path)
    attestation = None if config.attestation is None else SignedJwtVerifier(config.attestation)
    database = Database(config.database_url)
    try:
        check_is_current(database)
        settings = LeaderSettings(signing_key=key, privacy_delta=config.privacy_delta)
        coordinator = _coordinator(config, database, settings)
        coordinator.tick()
    except Exception:
        database.close()
        raise
    return Service(
        config=config,
        database=database,
        coordinator=coordinator,
        thread=CoordinatorThread(coordinator),
        attestation=attestation,
    )


def clock_of(config: ServiceConfig) -> Clock:
    """The clock that the configuration asks for."""
    return SystemClock() if config.clock_path is None else FileClock(config.clock_path)


def current_service() -> Service:
    """The service of the request's app."""
    return cast(Service, current_app.extensions[EXTENSION])


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
