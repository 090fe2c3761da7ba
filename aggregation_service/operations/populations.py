"""Populations, and what is seen of them."""

import msgspec

from aggregation_service import audit
from aggregation_service.config import ServiceConfig
from aggregation_service.operations.promises import check_promises_kept
from aggregation_service.operations.shared import OperationError, opened, require_population
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.releases.statements import current_statement
from aggregation_service.service import clock_of
from aggregation_service.storage import models
from aggregation_service.storage.locks import lock_population
from aggregation_service.summaries import PopulationSummary, summarise
from protocol.messages import PopulationName


def add_population(
    config: ServiceConfig, name: str, policy: PopulationPolicy | None = None, *, actor: str | None = None
) -> None:
    """Adds a population: devices that share a vocabulary and a model.

    Args:
      config: the service.
      name: of the population.
      policy: what holds for it; None for the policy of defaults, where devices enrol with a token.
      actor: who does it, for the audit log; None for the user of this machine.

    Raises:
      OperationError: it exists, or its name is not of lower-case letters, digits and hyphens.

    """
    try:
        msgspec.convert(name, PopulationName)
    except msgspec.ValidationError:
        raise OperationError(f"a population's name must be of a-z, 0-9 and '-', at most 63, got {name!r}") from None
    with opened(config) as database, database.write() as connection:
        if models.has_population(connection, name):
            raise OperationError(f"population {name} exists already")
        now = clock_of(config).now()
        models.add_population(connection, name, now)
        models.set_policy(connection, name, policy or PopulationPolicy())
        actor, details = actor or audit.machine_actor(), {"policy": models.get_policy(connection, name)}
        audit.record(connection, actor=actor, action="population.added", subject=name, details=details, now=now)


def list_populations(config: ServiceConfig) -> list[str]:
    """Names of all populations, sorted."""
    with opened(config) as database, database.read() as connection:
        return models.list_populations(connection)


def get_policy(config: ServiceConfig, population: str) -> PopulationPolicy:
    """Reads a population's policy.

    Raises:
      OperationError: unknown population.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return models.get_policy(connection, population)


def set_policy(config: ServiceConfig, population: str, policy: PopulationPolicy, *, actor: str | None = None) -> None:
    """Replaces a population's policy; the audit log keeps the old one and the new one.

    Args:
      config: the service.
      population: an existing one.
      policy: what holds from now on.
      actor: who does it, for the audit log; None for the user of this machine.

    Raises:
      OperationError: unknown population, or a budget above what a running task promises its devices.

    """
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        lock_population(connection, population)
        old, now = models.get_policy(connection, population), clock_of(config).now()
        if old != policy:
            if old.epsilon_budget != policy.epsilon_budget:
                check_promises_kept(connection, population, policy)
            models.set_policy(connection, population, policy)
            actor, details = actor or audit.machine_actor(), {"old": old, "new": policy}
            audit.record(connection, actor=actor, action="policy.changed", subject=population, details=details, now=now)


def privacy_statement(config: ServiceConfig, population: str) -> PrivacyStatement | None:
    """States what the population's training cost in privacy so far; None if nothing was released from devices yet.

    Raises:
      OperationError: unknown population.
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return current_statement(connection, population, config.privacy_delta)


def summaries(config: ServiceConfig) -> list[PopulationSummary]:
    """Sums up all populations, as the database stands."""
    with opened(config) as database:
        with database.read() as connection:
            names = models.list_populations(connection)
        return [summarise(database, name, config.privacy_delta) for name in names]
