"""Discoveries of new words: devices vote, level by level, and an operator reviews what comes out."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.config import ServiceConfig
from aggregation_service.coordination.discovering import LostLevel, add_level, threshold_of
from aggregation_service.operations.aggregation import check_groups, for_discovery, require_noise
from aggregation_service.operations.promises import with_promise
from aggregation_service.operations.shared import OperationError, opened, require_population
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.combining import Mean
from aggregation_service.service import clock_of
from aggregation_service.storage import discoveries, models
from aggregation_service.storage.discoveries import WordRecord, WordStatus
from aggregation_service.storage.locks import lock_population
from aggregation_service.storage.models import Task
from protocol.decoding import decode_json
from protocol.discovery.ballot import Ballot
from protocol.discovery.candidates import first_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscoverySettings:
    """How the rounds of a discovery differ from those of training; None for the training task's own.

    Attributes:
      report_goal: reports to wait for in each level.
      minimum_reports: a round whose deadline passes with fewer is abandoned, and its level tried again.
      noise_multiplier: z > 0: deviation of the noise on each count, as a multiple of sqrt(max_words).
      minimum_separation_s: how long a device stays away after it was selected.

    """

    report_goal: int | None = None
    minimum_reports: int | None = None
    noise_multiplier: float | None = None
    minimum_separation_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDiscovery:
    """What was begun.

    Attributes:
      task_id: of the first level.
      levels: in all.
      threshold: devices that a word or prefix must have to come out, noise included.
      epsilon: what all levels cost a device that is in each of them, if nothing else is released.
      delta: at which that is told.

    """

    task_id: int
    levels: int
    threshold: float
    epsilon: float
    delta: float


def checked_parameters(parameters: DiscoveryParameters) -> DiscoveryParameters:
    """Returns parameters that devices would take: those made in a program were not held against all bounds yet.

    Raises:
      MalformedMessage: one of them is out of its bound.

    """
    return decode_json(msgspec.json.encode(parameters), DiscoveryParameters, "discovery")


def create_discovery(
    config: ServiceConfig,
    *,
    population: str,
    parameters: DiscoveryParameters | None = None,
    settings: DiscoverySettings | None = None,
    actor: str | None = None,
) -> NewDiscovery:
    """Lets devices vote for words that the vocabulary does not have, in a round for each level.

    Levels take turns with rounds of training; only devices whose owners allow it are in them.

    Args:
      config: the service.
      population: an existing one, with a training task, whose vocabulary says what is known.
      parameters: of the discovery; None for the standard ones.
      settings: of its rounds.
      actor: who does it, for the audit log, which keeps the parameters; None for the user of this machine.

    Raises:
      OperationError: unknown population, no training task, a discovery that is still running, or noise or groups that
        cannot be.
      MalformedMessage: settings that devices would refuse.

    """
    now = clock_of(config).now()
    parameters = checked_parameters(parameters or DiscoveryParameters())
    settings = settings or DiscoverySettings()
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        lock_population(connection, population)
        first = _first_level(connection, population, parameters, settings, config.privacy_delta)
        candidates = first_candidates(parameters.letters, parameters.steps[0])
        try:
            task_id = add_level(connection, first, first.plan, candidates, now)
        except LostLevel as error:
            raise OperationError(str(error)) from None
        details = {"task": task_id, "kind": "discovery", "parameters": parameters, "new_privacy": first.plan.privacy}
        actor = actor or audit.machine_actor()
        audit.record(connection, actor=actor, action="task.created", subject=population, details=details, now=now)
    return _begun(task_id, first, parameters, config.privacy_delta)


def list_words(config: ServiceConfig, population: str, status: WordStatus | None = None) -> list[WordRecord]:
    """The words that came out, those of most devices first; of one status, or of all.

    Raises:
      OperationError: unknown population.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return discoveries.list_words(connection, population, status)


def decide_words(
    config: ServiceConfig, population: str, ids: Sequence[int], status: WordStatus, *, actor: str | None = None
) -> int:
    """Approves or rejects words, or takes such a decision back. The audit log tells their ids, never the words.

    Args:
      config: the service.
      population: whose words they are.
      ids: of the words, as `list_words` has them.
      status: that they shall have.
      actor: who decides; None for the user of this machine.

    Returns:
      How many words.

    Raises:
      OperationError: unknown population, no ids, or one that is no word of the population; nothing is changed then.

    """
    now, wanted, actor = clock_of(config).now(), sorted(set(ids)), actor or audit.machine_actor()
    if not wanted:
        raise OperationError("at least one word must be named, got none")
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        known = {record.id for record in discoveries.list_words(connection, population)}
        unknown = [word_id for word_id in wanted if word_id not in known]
        if unknown:
            raise OperationError(f"population {population} has no word {unknown[0]}")
        count = discoveries.decide_words(connection, population, wanted, status, actor=actor, now=now)
        details = {"words": wanted}
        audit.record(connection, actor=actor, action=f"words.{status}", subject=population, details=details, now=now)
    return count


def approved_words(config: ServiceConfig, population: str) -> bytes:
    """The approved words as `keychorus model grow` reads them: a word, a tab and its noised count a line, UTF-8.

    A word that came out in several discoveries is there once, with its largest count.

    Raises:
      OperationError: unknown population, or no word is approved.

    """
    found: dict[str, float] = {}
    for record in list_words(config, population, "approved"):
        found.setdefault(record.word, record.devices)
    if not found:
        raise OperationError(f"population {population} has no approved words")
    return "".join(f"{word}\t{devices:.3f}\n" for word, devices in found.items()).encode()


def _first_level(
    connection: Connection, population: str, parameters: DiscoveryParameters, settings: DiscoverySettings, delta: float
) -> Task:
    """The training task as the first level's would be; it is not stored."""
    running = models.find_running(connection, population, "discovery")
    if running is not None:
        raise OperationError(f"task {running} still discovers words; end it, or wait for its end")
    training = models.newest_task(connection, population)
    if training is None or models.newest_version(connection, population) is None:
        raise OperationError(f"population {population} has no training task, so no vocabulary says what is known")
    plan = with_promise(connection, population, _plan(training.plan, parameters, settings), delta)
    goal = plan.privacy.report_goal
    minimum = settings.minimum_reports or min(training.parameters.minimum_reports, goal)
    if minimum > goal:
        raise OperationError(f"minimum_reports must be <= report_goal {goal}, got {minimum}")
    of_rounds = replace(training.parameters, minimum_reports=minimum, combining=Mean(), adaptive_clipping=None)
    check_groups(plan, of_rounds)
    require_noise(plan, of_rounds)
    return replace(training, kind="discovery", plan=plan, parameters=of_rounds)


def _begun(task_id: int, first: Task, parameters: DiscoveryParameters, delta: float) -> NewDiscovery:
    levels = len(parameters.steps)
    return NewDiscovery(
        task_id=task_id,
        levels=levels,
        threshold=threshold_of(first, parameters),
        epsilon=privacy_spent(sum_noise(first.plan, first.parameters).noise_multiplier, levels, delta).epsilon,
        delta=delta,
    )


def _plan(training: Plan, parameters: DiscoveryParameters, settings: DiscoverySettings) -> Plan:
    given = {
        "report_goal": settings.report_goal,
        "noise_multiplier": settings.noise_multiplier,
        "minimum_separation_s": settings.minimum_separation_s,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    norm = parameters.vote_norm
    privacy = msgspec.structs.replace(
        training.privacy, **changes, l2_clip_norm=norm, noise_by="service", count_noise=None
    )
    if privacy.noise_multiplier == 0:
        raise OperationError("noise_multiplier must be > 0 for a discovery, got 0")
    ballot = Ballot(
        discovery_id=secrets.token_hex(16),
        level=0,
        num_candidates=parameters.candidates_by_level[0],
        parameters=parameters,
    )
    return for_discovery(training, privacy, ballot)
