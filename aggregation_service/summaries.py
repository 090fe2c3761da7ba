"""What operators see: rounds, counts, bytes and privacy spent. Nothing here is about a single device."""

from bisect import bisect_right

import msgspec

from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import LedgerEvent, ReleasesLost
from aggregation_service.privacy.spending import spent_after_each
from aggregation_service.privacy.statement import finite_or_none
from aggregation_service.rounds.state import AbandonReason, Phase
from aggregation_service.storage import books, models, rounds, secure_groups
from aggregation_service.storage.database import Database
from aggregation_service.storage.rounds import RoundRecord


class RoundSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round. `epsilon` is what the worst device had spent by its end, None if there is no guarantee."""

    id: str
    number: int
    phase: Phase
    abandoned_because: AbandonReason | None
    selected: int
    reported: int
    shortened: int
    opened_at: float
    closed_at: float | None
    model_version: int
    noise_multiplier: float
    max_participations: int
    epsilon: float | None
    bytes_up: int


class PopulationSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A population: its rounds, oldest first, and totals.

    Attributes:
      epsilon: what the worst device has spent by the ledger, None if there is no guarantee; `rho` likewise.
      epsilon_budget: where training stops, None for no bound.
      task_ended_because: why the newest training task ended; None while it runs, or if there is none.
      groups: of secure aggregation: how many are `under_way`, are `done`, or failed for each `GroupFailure`.

    """

    population: str
    model_version: int | None
    devices: int
    reported: int
    bytes_up: int
    max_participations: int
    epsilon: float | None
    delta: float
    rho: float | None
    epsilon_budget: float | None = None
    task_ended_because: models.EndReason | None = None
    groups: dict[str, int] = {}
    refusals: dict[str, int]
    rounds: list[RoundSummary]


def summarise(database: Database, population: str, delta: float) -> PopulationSummary:
    """Sums up a population as its database stands; whoever runs its rounds advances them first.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    with database.read() as connection:
        records = rounds.list_rounds(connection, population)
        events = books.list_events(connection, population)
        spent = spent_on_worst_device(events, delta)
        task = models.newest_task(connection, population)
        return PopulationSummary(
            population=population,
            model_version=models.newest_version(connection, population),
            devices=books.count_devices(connection, population),
            reported=sum(record.state.reported for record in records),
            bytes_up=sum(record.bytes_up for record in records),
            max_participations=books.max_participations(connection, population),
            epsilon=finite_or_none(spent.epsilon),
            delta=delta,
            rho=finite_or_none(spent.rho),
            epsilon_budget=models.get_policy(connection, population).epsilon_budget,
            task_ended_because=None if task is None else task.ended_because,
            groups=secure_groups.count_groups(connection, population),
            refusals=books.list_refusals(connection, population),
            rounds=_summarise_rounds(records, _spent_by_number(records, events, delta)),
        )


def _spent_by_number(records: list[RoundRecord], events: list[LedgerEvent], delta: float) -> dict[int, float]:
    """Epsilon of the worst device by the end of each round, by its number; rounds that released nothing add nothing."""
    number_of = {record.id: record.number for record in records}
    numbers = [0]
    for event in events:
        if isinstance(event, ReleasesLost):
            numbers.append(event.after_round + 1)
        else:
            numbers.append(number_of.get(event.round_id, numbers[-1]))
    after = [0.0, *(spent.epsilon for spent in spent_after_each(events, delta))]
    return {record.number: after[bisect_right(numbers, record.number) - 1] for record in records}


def _summarise_rounds(records: list[RoundRecord], spent: dict[int, float]) -> list[RoundSummary]:
    summaries = []
    for record in records:
        summaries.append(
            RoundSummary(
                id=record.id,
                number=record.number,
                phase=record.state.phase,
                abandoned_because=record.state.abandoned_because,
                selected=record.state.selected,
                reported=record.state.reported,
                shortened=record.state.shortened,
                opened_at=record.state.opened_at,
                closed_at=record.state.ended_at,
                model_version=record.model_version,
                noise_multiplier=record.task.plan.privacy.noise_multiplier,
                max_participations=record.max_participations,
                epsilon=finite_or_none(spent[record.number]),
                bytes_up=record.bytes_up,
            )
        )
    return summaries
