"""Evaluations: what devices' own words say about a model version, in hits and counts, noised like training."""

from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.config import ServiceConfig
from aggregation_service.operations.aggregation import check_groups, for_evaluation, require_noise
from aggregation_service.operations.promises import with_promise
from aggregation_service.operations.shared import OperationError, opened, require_population
from aggregation_service.releases.gate import comparable_version
from aggregation_service.rounds.combining import Mean
from aggregation_service.service import clock_of
from aggregation_service.storage import models
from aggregation_service.storage.files import find_content
from aggregation_service.storage.locks import lock_population
from protocol.plan import Plan, PrivacyParameters, decode_plan, encode_plan
from protocol.weights import decode_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """How an evaluation round differs from a training round; None for the training task's own.

    Attributes:
      report_goal: reports to wait for; the more, the less the noise weighs.
      minimum_reports: a round whose deadline passes with fewer is abandoned, and another begins.
      l2_clip_norm: of a device's seven sums. Clipping keeps their ratios, so that with a small norm every device weighs
        the same, however much it holds; a norm larger than that of most devices only adds noise.
      noise_multiplier: standard deviation of the noise on each sum, as a multiple of `l2_clip_norm`.
      minimum_separation_s: how long a device stays away after it was selected.

    """

    report_goal: int | None = None
    minimum_reports: int | None = None
    l2_clip_norm: float = 100.0
    noise_multiplier: float | None = None
    minimum_separation_s: float | None = None


def create_evaluation(
    config: ServiceConfig,
    *,
    population: str,
    candidate_version: int | None = None,
    baseline_version: int | None = None,
    settings: EvaluationSettings | None = None,
    actor: str | None = None,
) -> int:
    """Lets devices evaluate a model version, in one round that comes before the next of training.

    Args:
      config: the service.
      population: an existing one, with a training task, whose graph and vocabulary are used.
      candidate_version: None for the newest.
      baseline_version: to compare with; None for that of the current release, and for none where there is no release.
      settings: of the round.
      actor: who does it, for the audit log, which keeps the privacy parameters; None for the user of this machine.

    Returns:
      The task's id; it ends by itself with its first round that closes, whose result is in `rounds.result`.

    Raises:
      OperationError: unknown population or model version, no training task, an evaluation that is still running.
      MalformedMessage: settings that devices would refuse.
      WrongContent: a model version whose tensors are not those of the training task.

    """
    now = clock_of(config).now()
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        lock_population(connection, population)
        task_id = add_evaluation(
            connection,
            population,
            candidate_version=candidate_version,
            baseline_version=baseline_version,
            settings=settings or EvaluationSettings(),
            delta=config.privacy_delta,
            now=now,
        )
        _record(connection, task_id, actor or audit.machine_actor(), now)
    return task_id


def add_evaluation(
    connection: Connection,
    population: str,
    *,
    candidate_version: int | None,
    baseline_version: int | None,
    settings: EvaluationSettings,
    delta: float,
    now: float,
) -> int:
    """As `create_evaluation`, in a transaction that has locked the population; records nothing in the audit log."""
    require_no_evaluation(connection, population)
    training = models.newest_task(connection, population)
    newest_version = models.newest_version(connection, population)
    if training is None or newest_version is None:
        raise OperationError(f"population {population} has no training task, so there is nothing to evaluate")
    if baseline_version is None:
        baseline_version = comparable_version(connection, population)
    candidate_version = newest_version if candidate_version is None else candidate_version
    for version in (candidate_version, baseline_version):
        if version is not None:
            _check_version(connection, training, version)
    graph, vocabulary = _files_of(connection, training)
    plan = with_promise(connection, population, _plan(training.plan, settings), delta)
    minimum_reports = settings.minimum_reports or min(training.parameters.minimum_reports, plan.privacy.report_goal)
    if minimum_reports > plan.privacy.report_goal:
        raise OperationError(
            f"minimum_reports must be <= report_goal {plan.privacy.report_goal}, got {minimum_reports}"
        )
    parameters = replace(training.parameters, minimum_reports=minimum_reports, combining=Mean(), adaptive_clipping=None)
    check_groups(plan, parameters)
    require_noise(plan, parameters)
    return models.add_task(
        connection,
        population=population,
        kind="evaluation",
        plan=plan,
        training_graph=graph,
        vocabulary=vocabulary,
        parameters=parameters,
        optimizer=training.optimizer,
        candidate_version=candidate_version,
        baseline_version=baseline_version,
        now=now,
    )


def require_no_evaluation(connection: Connection, population: str) -> None:
    """Raises `OperationError` if an evaluation is running: there is one at a time."""
    active = models.active_task(connection, population)
    if active is not None and active.kind == "evaluation":
        version = active.candidate_version
        raise OperationError(f"task {active.id} still evaluates model version {version}; end it, or wait for its end")


def _plan(training: Plan, settings: EvaluationSettings) -> Plan:
    """The training plan, for an evaluation. Checked against the devices' bounds by reading it as they do."""
    training = for_evaluation(training)  # at once: noise by devices may need all the bits that there are
    privacy = training.privacy
    given = {name: getattr(settings, name, None) for name in PrivacyParameters.__struct_fields__}
    changes = {name: value for name, value in given.items() if value is not None}
    plan = msgspec.structs.replace(
        training,
        kind="evaluation",
        update_format="float32",
        privacy=msgspec.structs.replace(privacy, **changes, count_noise=None),
    )
    return decode_plan(encode_plan(plan))


def _check_version(connection: Connection, training: models.Task, version: int) -> None:
    checkpoint = models.find_checkpoint(connection, training.population, version)
    content = None if checkpoint is None else find_content(connection, checkpoint.file_sha256)
    if content is None:
        raise OperationError(f"population {training.population} has no model version {version}")
    decode_checkpoint(content, training.plan.tensors)


def _files_of(connection: Connection, training: models.Task) -> tuple[bytes, bytes | None]:
    graph = find_content(connection, training.training_graph_sha256)
    if graph is None:
        raise OperationError(f"the training graph of task {training.id} is missing")
    sha256 = training.vocabulary_sha256
    return graph, None if sha256 is None else find_content(connection, sha256)


def _record(connection: Connection, task_id: int, actor: str, now: float) -> None:
    task = models.get_task(connection, task_id)
    details = {
        "task": task_id,
        "kind": "evaluation",
        "candidate_version": task.candidate_version,
        "baseline_version": task.baseline_version,
        "new_privacy": task.plan.privacy,
    }
    audit.record(connection, actor=actor, action="task.created", subject=task.population, details=details, now=now)
