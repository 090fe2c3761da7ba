"""Tasks: what a population trains, and the weights that it has come to."""

from sqlalchemy import Connection

from aggregation_service import audit
from aggregation_service.config import ServiceConfig
from aggregation_service.logs import log_event
from aggregation_service.operations.aggregation import check_groups, require_noise
from aggregation_service.operations.clipping import check_clipping
from aggregation_service.operations.promises import with_promise
from aggregation_service.operations.shared import (
    OperationError,
    check_size,
    newest_checkpoint,
    opened,
    read_checkpoint,
    require_population,
)
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.rounds.combining import LEAST_UPDATES, MAX_KEPT_UPDATES, Mean
from aggregation_service.rounds.optimizer import ServerOptimizer
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.rounds.state import AbandonReason
from aggregation_service.service import clock_of
from aggregation_service.storage import models, rounds
from aggregation_service.storage.locks import lock_population
from protocol.plan import Plan, decode_plan, encode_plan
from protocol.weights import Weights, check_weights, encode_checkpoint


def create_task(
    config: ServiceConfig,
    *,
    population: str,
    plan: Plan,
    training_graph: bytes,
    checkpoint: Weights | None,
    parameters: RoundParameters,
    optimizer: ServerOptimizer,
    vocabulary: bytes | None = None,
    actor: str | None = None,
) -> int:
    """Makes a task the one that the population trains; the one before ends, and its open round is abandoned.

    Args:
      config: the service.
      population: an existing one.
      plan: tensors, training and privacy parameters, report goal and minimum separation. What it promises its devices
        is the service's to write: the population's budget.
      training_graph: the training `.tflite`, opaque here.
      checkpoint: the weights to start from, which become the next model version (the first is 0); None to go on from
        the population's newest, optimiser state included.
      parameters: what a round does beside the plan.
      optimizer: the server's.
      vocabulary: a file that devices train with, opaque here; named "vocabulary" in the rounds' manifests unless None.
      actor: who does it, for the audit log, which keeps the privacy parameters, the mechanism of the noise and the rule
        that combines updates; None for the user of this machine.

    Returns:
      The model version that training starts from.

    Raises:
      OperationError: unknown population, too many `minimum_reports`, too small cohorts, a robust rule or a mechanism
        that the plan does not allow, noise that no grid is for, clipping that cannot adapt, nothing to start from, or
        a file's size.
      MalformedMessage: a plan that devices would refuse.
      WrongContent: weights that do not fit the plan.

    """
    plan = decode_plan(encode_plan(plan))  # a plan made in a program was not checked against the devices' bounds yet
    _check_goal(parameters, plan.privacy.report_goal)
    check_groups(plan, parameters)
    _check_combining(parameters, plan)
    _check_noise(parameters, plan)
    check_clipping(parameters, plan)
    check_size("training_graph", training_graph)
    check_size("vocabulary", vocabulary)
    if checkpoint is not None:
        check_weights(checkpoint, plan.tensors)
    now = clock_of(config).now()
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        lock_population(connection, population)
        _abandon_training_round(connection, population, now)
        before = models.newest_task(connection, population)
        plan = with_promise(connection, population, plan, config.privacy_delta)
        task_id = models.add_task(
            connection,
            population=population,
            plan=plan,
            training_graph=training_graph,
            vocabulary=vocabulary,
            parameters=parameters,
            optimizer=optimizer,
            now=now,
        )
        if checkpoint is not None:
            content = encode_checkpoint(checkpoint)
            version = models.add_checkpoint(connection, population, content=content, optimizer_state=None, now=now)
        else:
            version = read_checkpoint(connection, population, plan)[0]
        details = {
            "task": task_id,
            "model_version": version,
            "old_privacy": None if before is None else before.plan.privacy,
            "new_privacy": plan.privacy,
            "combining": parameters.combining,
            "mechanism": parameters.mechanism,
            "adaptive_clipping": parameters.adaptive_clipping,
            "separation_rounds": parameters.separation_rounds,
            "max_participations": parameters.max_participations,
        }
        actor = actor or audit.machine_actor()
        audit.record(connection, actor=actor, action="task.created", subject=population, details=details, now=now)
    return version


def end_task(config: ServiceConfig, population: str, *, actor: str | None = None) -> int:
    """Ends an evaluation if one runs, else a discovery, else the training; its open round is abandoned, in the open.

    Args:
      config: the service.
      population: an existing one.
      actor: who does it, for the audit log; None for the user of this machine.

    Returns:
      The task's id.

    Raises:
      OperationError: unknown population, or one without a task that has not ended.

    """
    now = clock_of(config).now()
    with opened(config) as database, database.write() as connection:
        require_population(connection, population)
        lock_population(connection, population)
        task_id = models.endable_task_id(connection, population)
        if task_id is None:
            raise OperationError(f"population {population} has no task that has not ended")
        models.end_task(connection, task_id, "cancelled", now)
        record = rounds.find_open_round(connection, population)
        if record is not None and record.task.id == task_id:
            rounds.retire_open_round(connection, population, AbandonReason.TASK_REPLACED, now)
        actor, details = actor or audit.machine_actor(), {"task": task_id, "because": "cancelled"}
        audit.record(connection, actor=actor, action="task.ended", subject=population, details=details, now=now)
    return task_id


def current_checkpoint(config: ServiceConfig, population: str) -> tuple[int, Weights]:
    """Reads the population's newest model version and its weights.

    Raises:
      OperationError: unknown population, or one without a task.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        task = models.newest_task(connection, population)
        if task is None:
            raise OperationError(f"population {population} has no task yet")
        return read_checkpoint(connection, population, task.plan)


def current_version(config: ServiceConfig, population: str) -> int:
    """Reads the population's newest model version, without its weights.

    Raises:
      OperationError: unknown population, or one without weights.

    """
    with opened(config) as database, database.read() as connection:
        require_population(connection, population)
        return newest_checkpoint(connection, population).model_version


def _abandon_training_round(connection: Connection, population: str, now: float) -> None:
    """An open round of an evaluation or a discovery goes on: it is not about what is trained next."""
    record = rounds.find_open_round(connection, population)
    if record is None or record.task.kind != "training":
        return
    abandoned = rounds.retire_open_round(connection, population, AbandonReason.TASK_REPLACED, now)
    if abandoned is not None:
        log_event("round_abandoned", round=abandoned.id, because=AbandonReason.TASK_REPLACED)


def _check_goal(parameters: RoundParameters, report_goal: int) -> None:
    if parameters.minimum_reports > report_goal:
        raise OperationError(f"minimum_reports must be <= report_goal {report_goal}, got {parameters.minimum_reports}")


def _check_combining(parameters: RoundParameters, plan: Plan) -> None:
    """A robust rule needs each update, enough of them to tell which are extreme, and has no sensitivity for noise."""
    rule, privacy = parameters.combining, plan.privacy
    if isinstance(rule, Mean):
        return
    if plan.secure_aggregation is not None:
        raise OperationError(f"a {rule.name} needs each update, which secure aggregation hides: take plain updates")
    if privacy.noise_multiplier > 0:
        raise OperationError(
            f"noise_multiplier must be 0 for a {rule.name}, whose sensitivity is not known, "
            f"got {privacy.noise_multiplier}"
        )
    if parameters.minimum_reports < LEAST_UPDATES:
        raise OperationError(
            f"minimum_reports must be >= {LEAST_UPDATES} for a {rule.name}, got {parameters.minimum_reports}"
        )
    if privacy.report_goal > MAX_KEPT_UPDATES:
        raise OperationError(
            f"report_goal must be <= {MAX_KEPT_UPDATES} for a {rule.name}, which keeps each update, "
            f"got {privacy.report_goal}"
        )


def _check_noise(parameters: RoundParameters, plan: Plan) -> None:
    """Correlated noise takes back noise of rounds before: there has to be some, in sums of the same kind."""
    if not isinstance(parameters.mechanism, Independent):
        if plan.privacy.noise_multiplier == 0:
            raise OperationError("noise_multiplier must be > 0 for correlated noise, got 0")
        if plan.kind != "training":
            raise OperationError(f"kind must be training for correlated noise, got {plan.kind}")
        if plan.privacy.noise_by == "devices":
            raise OperationError(
                "noise_by must be service for correlated noise: devices know of no noise but their own"
            )
    require_noise(plan, parameters)
