"""A population at a glance: where its round stands, what its privacy cost, which release is in use, what is amiss."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from aggregation_service.dashboard.views import budget, releases, rounds
from aggregation_service.dashboard.views.budget import BudgetView
from aggregation_service.dashboard.views.concerns import Concern, read_concerns
from aggregation_service.dashboard.views.releases import ReleaseView
from aggregation_service.dashboard.views.rounds import RoundView
from aggregation_service.policy import PopulationPolicy
from aggregation_service.storage.books import count_devices
from aggregation_service.storage.models import get_policy, list_populations
from aggregation_service.storage.tables import checkpoints, tasks


@dataclass(frozen=True, kw_only=True, slots=True)
class PopulationView:
    """What a card of the overview shows, and the head of a population's own page.

    Attributes:
      model_version: the newest; None before the first task.
      devices: devices that ever checked in.
      has_task: whether it was ever given something to train.
      open_round: None between rounds.
      last_round: the newest that has ended.
      releases: what devices get: the one for all of them, and what is being rolled out, newest first.

    """

    name: str
    model_version: int | None
    devices: int
    has_task: bool
    policy: PopulationPolicy
    open_round: RoundView | None
    last_round: RoundView | None
    budget: BudgetView
    releases: tuple[ReleaseView, ...]
    concerns: tuple[Concern, ...]


def read_all(connection: Connection, delta: float, now: float) -> tuple[PopulationView, ...]:
    """All populations, by name."""
    return tuple(read_population(connection, name, delta, now) for name in list_populations(connection))


def read_population(connection: Connection, name: str, delta: float, now: float) -> PopulationView:
    """One population, which must exist.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    recent = rounds.newest(connection, name, limit=10)
    spent = budget.read_budget(connection, name, delta)
    task = _newest_task(connection, name)
    return PopulationView(
        name=name,
        model_version=connection.scalar(
            select(func.max(checkpoints.c.model_version)).where(checkpoints.c.population == name)
        ),
        devices=count_devices(connection, name),
        has_task=task is not None,
        policy=get_policy(connection, name),
        open_round=next((found for found in recent if found.is_open), None),
        last_round=next((found for found in reversed(recent) if not found.is_open), None),
        budget=spent,
        releases=releases.offered(releases.list_releases(connection, name, limit=10)),
        concerns=read_concerns(connection, name, recent=recent, budget=spent, now=now),
    )


def _newest_task(connection: Connection, population: str) -> int | None:
    newest: int | None = connection.scalar(select(func.max(tasks.c.id)).where(tasks.c.population == population))
    return newest
