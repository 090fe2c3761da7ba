"""What an app holds: the database, the coordinator, the configuration."""

import secrets
from dataclasses import dataclass
from typing import cast

from flask import current_app, g

from aggregation_service.clock import Clock, FileClock, SystemClock
from aggregation_service.config import ServiceConfig, load_signing_key
from aggregation_service.coordinator import Coordinator
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.database import Database, check_is_current
from aggregation_service.storage.models import has_population

EXTENSION = "keychorus"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One running service."""

    config: ServiceConfig
    database: Database
    coordinator: Coordinator

    def close(self) -> None:
        """Closes the database; sums in memory are gone, and their rounds will be abandoned."""
        self.database.close()


def start_service(config: ServiceConfig) -> Service:
    """Opens everything that `config` names.

    Raises:
      ConfigError: no signing key, or one that others may read.
      OutdatedDatabase: the database was not migrated.

    """
    key = load_signing_key(config.signing_key_path)
    database = Database(config.database_url)
    try:
        check_is_current(database)
    except Exception:
        database.close()
        raise
    coordinator = Coordinator(database, clock_of(config), key, secrets.SystemRandom().random)
    return Service(config=config, database=database, coordinator=coordinator)


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
