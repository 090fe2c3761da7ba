"""What an operator does on the pages: forms with a token of the session, and a page that asks first where it matters.

Every action is a function of `operations`, which also writes the audit log; what cannot be done is told on the page.
"""

from collections.abc import Callable

from flask import Blueprint, abort, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from aggregation_service.dashboard.frame import MAX_NUMBER, frame, read_number, show
from aggregation_service.dashboard.views.releases import find_release, find_rollback
from aggregation_service.operations.releases import publish_candidate, rollback_release, set_rollout
from aggregation_service.operations.shared import OperationError
from aggregation_service.operations.tasks import end_task as end_newest_task
from aggregation_service.operators.access import current_operator, require_role
from aggregation_service.service import current_service
from aggregation_service.storage.models import get_policy, has_population

blueprint = Blueprint("actions", __name__, url_prefix="/dashboard")
frame(blueprint)

_POPULATION = "/populations/<name>"
_RELEASE = f"{_POPULATION}/releases/<int(max={MAX_NUMBER}):release_id>"


@blueprint.get(f"{_POPULATION}/end-task")
@require_role("operator")
def ask_end_task(name: str) -> str:
    """Asks before a task is ended."""
    with current_service().database.read() as connection:
        if not has_population(connection, name):
            abort(404)
    return _ask(
        name,
        title=f"End the task of {name}",
        text="Its open round is abandoned, in the open, and no other is opened for it again. What was learnt stays, "
        "and what was spent stays spent.",
        button="End the task",
    )


@blueprint.post(f"{_POPULATION}/end-task")
@require_role("operator")
def end_task(name: str) -> ResponseReturnValue:
    """Ends the task whose round is next."""

    def act() -> str:
        task_id = end_newest_task(current_service().config, name, actor=current_operator().name)
        return f"Task {task_id} has ended."

    return _do(name, act)


@blueprint.get(f"{_POPULATION}/rollback")
@require_role("operator")
def ask_rollback(name: str) -> str:
    """Asks before a release is withdrawn."""
    with current_service().database.read() as connection:
        target = find_rollback(connection, name)
    if target is None:
        abort(404)
    return _ask(
        name,
        title=f"Roll {name} back to release {target.id}",
        text=f"Model version {target.model_version} is offered to all devices again, signed anew, and every release "
        "since is withdrawn. Devices change as soon as they ask.",
        button="Roll back",
        fields={"to": target.id},
    )


@blueprint.post(f"{_POPULATION}/rollback")
@require_role("operator")
def roll_back(name: str) -> ResponseReturnValue:
    """Withdraws the newest releases and offers an earlier one again."""
    target = read_number(request.form, "to")
    if target is None:  # not the one that the operator was asked about
        abort(400)

    def act() -> str:
        made = rollback_release(current_service().config, population=name, to=target, actor=current_operator().name)
        return f"Release {made.target_id} is offered again, as release {made.release_id}."

    return _do(name, act)


@blueprint.get(f"{_RELEASE}/publish")
@require_role("operator")
def ask_publish(name: str, release_id: int) -> str:
    """Asks before a candidate is published, above all where the policy has a gate."""
    with current_service().database.read() as connection:
        release = find_release(connection, name, release_id)
        if release is None or not release.is_publishable:
            abort(404)
        has_gate = get_policy(connection, name).gate_margin is not None
    gate = "The policy's gate has not let it through; it is published despite the gate. " if has_gate else ""
    return _ask(
        name,
        title=f"Publish release {release_id} of {name}",
        text=f"{gate}Model version {release.model_version} is offered to {release.rollout_percent} % of the devices, "
        "signed anew.",
        button="Publish despite the gate" if has_gate else "Publish",
        fields={"despite_gate": int(has_gate)},
    )


@blueprint.post(f"{_RELEASE}/publish")
@require_role("operator")
def publish(name: str, release_id: int) -> ResponseReturnValue:
    """Releases a candidate."""
    despite_gate = request.form.get("despite_gate") == "1"  # as the operator was asked, not as the policy is by now

    def act() -> str:
        config, actor = current_service().config, current_operator().name
        publish_candidate(config, population=name, release_id=release_id, despite_gate=despite_gate, actor=actor)
        return f"The files of release {release_id} are released."

    return _do(name, act)


@blueprint.post(f"{_RELEASE}/rollout")
@require_role("operator")
def roll_out(name: str, release_id: int) -> ResponseReturnValue:
    """Sets the part of the devices that a release is offered to."""
    percent = read_number(request.form, "percent")
    if percent is None:
        abort(400)

    def act() -> str:
        config, actor = current_service().config, current_operator().name
        set_rollout(config, population=name, release_id=release_id, percent=percent, actor=actor)
        return f"Release {release_id} is offered to {percent} % of the devices."

    return _do(name, act)


def _ask(name: str, *, title: str, text: str, button: str, fields: dict[str, int] | None = None) -> str:
    asked = {"title": title, "text": text, "button": button, "fields": fields or {}}
    return show("confirm.html", section="populations", name=name, **asked)


def _do(name: str, act: Callable[[], str]) -> ResponseReturnValue:
    """Acts, and leads back to the population's page, which tells what came of it."""
    try:
        flash(act(), "done")
    except OperationError as error:
        flash(f"{str(error)[0].upper()}{str(error)[1:]}.", "error")
    return redirect(url_for("dashboard.population_page", name=name), code=303)
