"""The close of a discovery's level: what survived noise and threshold, and the level that follows.

A level is a task of its own, with a plan and a list of its own, that ends with its first round that closes, as an
evaluation does. So all that devices get is frozen with its task, and a restart finds the discovery where it was.
"""

import msgspec
from sqlalchemy import Connection

from aggregation_service.logs import log_event
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.accumulator import SumArray
from aggregation_service.storage import models
from aggregation_service.storage.discoveries import find_candidates, insert_words, put_level
from aggregation_service.storage.files import find_content
from aggregation_service.storage.models import Task
from aggregation_service.storage.rounds import RoundRecord
from protocol.discovery.advancing import advance, survival_threshold
from protocol.discovery.ballot import Ballot
from protocol.discovery.candidates import CandidateList, decode_candidates, encode_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.plan import Plan


class LostLevel(Exception):
    """A level whose list is missing: its sums say nothing."""


def on_level_closed(connection: Connection, record: RoundRecord, noised: SumArray, now: float) -> None:
    """Takes in a level's round that closed: keeps the words that came out, ends its task, and begins the next level.

    Args:
      connection: the transaction that closes the round; the ledger's entry was committed before.
      record: the round; its task is a level of a discovery.
      noised: [num_candidates], numbers of devices.
      now: seconds since 1970.

    Raises:
      LostLevel: the list is not there, or the task is no level.
      NonFiniteUpdate: a count that is not finite.

    """
    task, ballot, candidates = record.task, record.task.plan.ballot, _candidates(connection, record.task)
    if ballot is None:
        raise LostLevel(f"task {task.id} must be a level of a discovery, got {task.kind}")
    level = advance(
        noised,
        candidates,
        threshold_of(task, ballot.parameters),
        next_step=ballot.next_step,
        max_prefixes=ballot.parameters.max_prefixes,
    )
    insert_words(connection, task.population, task.id, level.words, now)
    models.end_task(connection, task.id, "completed", now)
    prefixes = 0 if level.candidates is None else len(level.candidates.prefixes)
    if level.candidates is not None:
        add_level(connection, task, next_plan(task.plan, ballot, level.candidates), level.candidates, now)
    told = {"level": ballot.level + 1, "words": len(level.words), "prefixes": prefixes}
    log_event("discovery_level_closed", round=record.id, discovery=ballot.discovery_id, **told)


def threshold_of(task: Task, parameters: DiscoveryParameters) -> float:
    """T: devices that a candidate must have, noise included, to survive the task's round."""
    grid = sum_noise(task.plan, task.parameters).grid
    deviation = 0.0 if grid is None else grid.sigma * grid.step
    return survival_threshold(deviation, parameters)


def next_plan(plan: Plan, ballot: Ballot, candidates: CandidateList) -> Plan:
    """The plan of the level after: the same, but for what is voted on."""
    following = msgspec.structs.replace(ballot, level=ballot.level + 1, num_candidates=candidates.size)
    return msgspec.structs.replace(plan, discovery=following)


def add_level(connection: Connection, before: Task, plan: Plan, candidates: CandidateList, now: float) -> int:
    """Adds the task of a level.

    Args:
      connection: a transaction that has locked the population.
      before: the task that files and parameters are taken from.
      plan: of the level.
      candidates: that it votes on.
      now: seconds since 1970.

    Returns:
      The task's id.

    Raises:
      LostLevel: the files of `before` are missing.

    """
    graph = find_content(connection, before.training_graph_sha256)
    if graph is None:
        raise LostLevel(f"the training graph of task {before.id} is missing")
    sha256 = before.vocabulary_sha256
    task_id = models.add_task(
        connection,
        population=before.population,
        kind="discovery",
        plan=plan,
        training_graph=graph,
        vocabulary=None if sha256 is None else find_content(connection, sha256),
        parameters=before.parameters,
        optimizer=before.optimizer,
        now=now,
    )
    put_level(connection, task_id, encode_candidates(candidates))
    return task_id


def _candidates(connection: Connection, task: Task) -> CandidateList:
    entry = find_candidates(connection, task.id)
    content = None if entry is None else find_content(connection, entry.sha256)
    if content is None:
        raise LostLevel(f"the candidates of task {task.id} are missing")
    return decode_candidates(content)
