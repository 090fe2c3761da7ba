"""The operators' API: what `keychorus service` does, over HTTP and with a login.

Scripts log in by HTTP Basic over TLS, and send changes as `application/json`; pages by their session and CSRF token.
"""

from typing import Annotated, TypeVar

import msgspec
from flask import Blueprint, Response, request
from sqlalchemy import select

from aggregation_service import audit, operations
from aggregation_service.audit import AuditEntry
from aggregation_service.operations.identities import revoke_device
from aggregation_service.operators.access import current_operator, require_role
from aggregation_service.policy import PopulationPolicy
from aggregation_service.problems import refuse
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import message_response, read_body
from aggregation_service.service import current_service, require_population
from aggregation_service.storage import models
from aggregation_service.storage.clipping_states import for_display
from aggregation_service.storage.tables import tasks
from aggregation_service.summaries import PopulationSummary, summarise
from protocol.errors import MalformedMessage
from protocol.messages import MAX_MESSAGE_BYTES, PopulationName, decode_message
from protocol.plan import PrivacyParameters
from protocol.routes import API

ADMIN = f"{API}/admin"
POPULATIONS = f"{ADMIN}/populations"
MAX_ENTRIES = 500

blueprint = Blueprint("admin", __name__)


class AdminMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the API's messages."""


class Populations(AdminMessage, frozen=True, kw_only=True):
    """All populations, by name."""

    populations: list[PopulationSummary]


class NewPopulation(AdminMessage, frozen=True, kw_only=True):
    """A population to add; `policy` holds from the beginning."""

    name: PopulationName
    policy: PopulationPolicy = PopulationPolicy()


class TaskSummary(AdminMessage, frozen=True, kw_only=True):
    """A task: what it spends privacy on, and whether and why it ended."""

    id: int
    kind: str
    privacy: PrivacyParameters
    ended_at: float | None
    ended_because: str | None


class Tasks(AdminMessage, frozen=True, kw_only=True):
    """A population's tasks, newest first."""

    tasks: list[TaskSummary]


class EndedTask(AdminMessage, frozen=True, kw_only=True):
    """The task that was ended."""

    id: int


class Nothing(AdminMessage, frozen=True, kw_only=True):
    """An empty body, `{}`: the address says it all."""


class AuditPage(AdminMessage, frozen=True, kw_only=True):
    """Entries of the audit log, newest first; `before` asks for the next page, None on the last."""

    head: str
    entries: list[AuditEntry]
    before: int | None


class AuditQuery(AdminMessage, frozen=True, kw_only=True):
    """What a page of the audit log is asked for by: entries older than `before`, at most `limit`."""

    before: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ENTRIES)] = 100


MessageT = TypeVar("MessageT")


@blueprint.get(POPULATIONS)
@require_role("viewer")
def list_populations() -> Response:
    """Answers by `Populations`."""
    service = current_service()
    with service.database.read() as connection:
        names = models.list_populations(connection)
    delta = service.config.privacy_delta
    return message_response(Populations(populations=[summarise(service.database, name, delta) for name in names]))


@blueprint.post(POPULATIONS)
@require_role("operator")
def add_population() -> Response:
    """Adds the `NewPopulation` of the body, and answers by it."""
    wanted = _read(NewPopulation)
    operations.add_population(current_service().config, wanted.name, wanted.policy, actor=current_operator().name)
    return message_response(wanted)


@blueprint.get(f"{POPULATIONS}/<population>/policy")
@require_role("viewer")
def show_policy(population: str) -> Response:
    """Answers by the `PopulationPolicy`."""
    require_population(population)
    return message_response(operations.get_policy(current_service().config, population))


@blueprint.put(f"{POPULATIONS}/<population>/policy")
@require_role("operator")
def change_policy(population: str) -> Response:
    """Replaces the policy by the `PopulationPolicy` of the body, and answers by it."""
    require_population(population)
    policy = _read(PopulationPolicy)
    operations.set_policy(current_service().config, population, policy, actor=current_operator().name)
    return message_response(policy)


@blueprint.get(f"{POPULATIONS}/<population>/tasks")
@require_role("viewer")
def list_tasks(population: str) -> Response:
    """Answers by `Tasks`."""
    require_population(population)
    newest = select(tasks.c.id).where(tasks.c.population == population).order_by(tasks.c.id.desc())
    with current_service().database.read() as connection:
        ids = connection.scalars(newest).all()
        found = [for_display(connection, models.get_task(connection, task_id)) for task_id in ids]
    return message_response(Tasks(tasks=[_summary(task) for task in found]))


@blueprint.post(f"{POPULATIONS}/<population>/tasks/end")
@require_role("operator")
def end_task(population: str) -> Response:
    """Ends the task whose round is next, and answers by `EndedTask`."""
    require_population(population)
    _read(Nothing)
    ended = operations.end_task(current_service().config, population, actor=current_operator().name)
    return message_response(EndedTask(id=ended))


@blueprint.post(f"{ADMIN}/devices/<population>/<device_id>/revoke")
@require_role("operator")
def revoke(population: str, device_id: str) -> Response:
    """Revokes a device's key."""
    require_population(population)
    _read(Nothing)
    revoke_device(current_service().config, population, device_id, actor=current_operator().name)
    return message_response(Nothing())


@blueprint.get(f"{ADMIN}/audit")
@require_role("viewer")
def show_audit() -> Response:
    """Answers by the `AuditPage` that the query, an `AuditQuery`, asks for."""
    try:
        query = msgspec.convert(request.args.to_dict(), AuditQuery, strict=False)
    except msgspec.ValidationError:
        raise Refused(RefusalKind.BAD_REQUEST, f"before must be >= 1, and limit 1 to {MAX_ENTRIES}") from None
    with current_service().database.read() as connection:
        entries = audit.list_entries(connection, before=query.before, limit=query.limit)
        head = audit.head(connection)
    more = entries[-1].id if entries and entries[-1].id > 1 else None
    return message_response(AuditPage(head=head, entries=entries, before=more))


@blueprint.errorhandler(operations.OperationError)
def _cannot_be_done(error: operations.OperationError) -> Response:
    return refuse(Refused(RefusalKind.BAD_REQUEST, str(error)))


def _read(message_type: type[MessageT]) -> MessageT:
    try:
        return decode_message(read_body("application/json", MAX_MESSAGE_BYTES), message_type)
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_MESSAGE, str(error)) from None


def _summary(task: models.Task) -> TaskSummary:
    return TaskSummary(
        id=task.id,
        kind=task.kind,
        privacy=task.plan.privacy,
        ended_at=task.ended_at,
        ended_because=task.ended_because,
    )
