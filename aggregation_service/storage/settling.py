"""What a database that went back to a backup must do before it serves: to own up to what it does not know any more."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from aggregation_service.privacy.ledger import ReleasesLost
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.privacy.shares import sum_of
from aggregation_service.privacy.sum_noise import least_noise, sum_noise
from aggregation_service.rounds.state import AbandonReason
from aggregation_service.storage.books import append_event
from aggregation_service.storage.clipping_states import clipping_of
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.models import Task, get_task, list_populations, newest_checkpoint, with_clip_norm
from aggregation_service.storage.noise_streams import forget_streams, mechanism_of
from aggregation_service.storage.rounds import next_number, retire_open_round
from aggregation_service.storage.tables import checkpoints, participation, tasks


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What was settled: ids of the rounds abandoned, names of the populations whose ledger was charged."""

    abandoned: tuple[str, ...]
    charged: tuple[str, ...]


def settle(connection: Connection, lost_rounds: int, now: float) -> Settled:
    """Brings restored books to what can be answered for.

    Args:
      connection: a write transaction.
      lost_rounds: how many rounds of any one population may have closed after the backup, >= 0; of those whose noise
        devices made, also how many were abandoned once a group's sum was opened.
      now: seconds since 1970.

    Guarantees:
      No round is open: the keys of those that were are gone. Where rounds were lost, in each population that ever had
      a task: the ledger charges every device for all of them, at the least noise of the population's tasks; streams of
      correlated noise begin anew, for the steps that were lost must not be made twice; the newest model goes on under a
      version that none of them can have had, so that no device that saw one of theirs takes it for older, or for the
      same; and every device's minimum separation begins anew, for it may have been selected in the last of them.

    """
    abandoned, charged = [], []
    for population in list_populations(connection):
        lock_population(connection, population)
        record = retire_open_round(connection, population, AbandonReason.KEY_LOST, now)
        if record is not None:
            abandoned.append(record.id)
        events = _lost_releases(connection, population, lost_rounds)
        for event in events:
            append_event(connection, population, event, now)
        if events:
            forget_streams(connection, population)
            _skip_versions(connection, population, lost_rounds, now)
            devices = update(participation).where(participation.c.population == population)
            connection.execute(devices.values(last_selected_at=now))
            charged.append(population)
    return Settled(abandoned=tuple(abandoned), charged=tuple(charged))


def _lost_releases(connection: Connection, population: str, lost_rounds: int) -> list[ReleasesLost]:
    """The ledger's entries; none where nothing can have been lost.

    Correlated noise is charged at least as much as fresh noise would be, so that one entry is for both. Where tasks had
    different correlated noise, each kind is charged as if all that was lost had been of it.
    """
    ids = connection.scalars(select(tasks.c.id).where(tasks.c.population == population)).all()
    of_population = [get_task(connection, task_id) for task_id in ids]
    if lost_rounds == 0 or not of_population:
        return []
    after_round = next_number(connection, population) - 1
    told = [_told(task, after_round + lost_rounds) for task in of_population]
    fresh = Independent()
    mechanisms = dict.fromkeys(mechanism_of(task) for task in of_population)
    return [
        ReleasesLost(
            num_releases=lost_rounds,
            after_round=after_round,
            noise_multiplier=min(multiplier for multiplier, _ in told),
            l2_clip_norm=max(norm for _, norm in told),
            mechanism=mechanism,
        )
        for mechanism in [each for each in mechanisms if each != fresh] or [fresh]
    ]


def _told(task: Task, rounds: int) -> tuple[float, float]:
    """Noise multiplier and norm of one release of a task, whose stream may have had as many rounds.

    Where clipping adapts: the least of any norm, and the norm of the largest.
    """
    shared, clipping = task.plan.shared_noise, clipping_of(task)
    if shared is not None:
        return sum_of(shared).gaussian_multiplier, shared.quantiser.l2_bound
    if clipping is not None:
        largest = with_clip_norm(task, clipping.ceiling)
        return least_noise(task.plan, task.parameters), sum_noise(largest.plan, task.parameters).one_report
    return sum_noise(task.plan, task.parameters).in_stream(mechanism_of(task), rounds)


def _skip_versions(connection: Connection, population: str, lost_rounds: int, now: float) -> None:
    """Repeats the newest checkpoint, optimiser state included, under the version after all that were lost."""
    newest = newest_checkpoint(connection, population)
    if newest is None:
        return
    connection.execute(update(checkpoints).where(checkpoints.c.population == population).values(optimizer_state=None))
    row = {
        "population": population,
        "model_version": newest.model_version + lost_rounds + 1,
        "file_sha256": newest.file_sha256,
        "served_sha256": newest.served_sha256,
        "optimizer_state": newest.optimizer_state,
        "created_at": now,
    }
    connection.execute(checkpoints.insert().values(row))
