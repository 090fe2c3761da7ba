"""The pages: one blueprint under `/dashboard`. Every page needs a login; none needs a script."""

from collections import Counter
from typing import Any

from flask import Blueprint, Response, abort, request
from sqlalchemy import Connection

from aggregation_service.dashboard import charts, figures
from aggregation_service.dashboard.frame import MAX_NUMBER, frame, read_number, show
from aggregation_service.dashboard.printing import statement_page
from aggregation_service.dashboard.views import (
    budget,
    devices,
    groups,
    populations,
    recall,
    releases,
    rounds,
    tasks,
    trail,
)
from aggregation_service.operators.access import require_role
from aggregation_service.privacy.wording import tell_mechanism
from aggregation_service.service import clock_of, current_service
from aggregation_service.storage.books import list_refusals
from aggregation_service.storage.discoveries import count_words
from aggregation_service.storage.leadership import newest_holder
from aggregation_service.storage.models import has_population

blueprint = Blueprint(
    "dashboard", __name__, url_prefix="/dashboard", template_folder="templates", static_folder="static"
)
frame(blueprint)


@blueprint.get("/")
@require_role("viewer")
def overview() -> str:
    """All populations as cards."""
    service = current_service()
    now = clock_of(service.config).now()
    with service.database.read() as connection:
        found = populations.read_all(connection, service.config.privacy_delta, now)
        holder = newest_holder(connection)
    return show("overview.html", section="populations", populations=found, holder=holder, now=now)


@blueprint.get("/populations/<name>")
@require_role("viewer")
def population_page(name: str) -> str:
    """One population: its rounds, charts, releases, devices, tasks."""
    service = current_service()
    now = clock_of(service.config).now()
    before = read_number(request.args, "before")
    with service.database.read() as connection:
        _require(connection, name)
        population = populations.read_population(connection, name, service.config.privacy_delta, now)
        shown: dict[str, Any] = {
            "population": population,
            "page": rounds.read_page(connection, name, before),
            "charts": _charts(rounds.newest(connection, name), population.budget),
            "groups": groups.read_groups(connection, name),
            "devices": devices.read_devices(connection, name, now),
            "releases": releases.list_releases(connection, name),
            "rollback": releases.find_rollback(connection, name),
            "tasks": tasks.list_tasks(connection, name),
            "words_waiting": count_words(connection, name, "found"),
            "refusals": sorted(list_refusals(connection, name).items(), key=lambda pair: -pair[1]),
        }
    if before is not None and not shown["page"].rounds:
        abort(404)
    return show("population.html", section="populations", now=now, **shown)


@blueprint.get(f"/populations/<name>/releases/<int(max={MAX_NUMBER}):release_id>")
@require_role("viewer")
def release_page(name: str, release_id: int) -> str:
    """A release and its privacy statement."""
    service = current_service()
    with service.database.read() as connection:
        release = releases.find_release(connection, name, release_id)
    if release is None:
        abort(404)
    now = clock_of(service.config).now()
    shown = {"name": name, "release": release, "tell_mechanism": tell_mechanism}
    return show("release.html", section="populations", now=now, **shown)


@blueprint.get(f"/populations/<name>/releases/<int(max={MAX_NUMBER}):release_id>/statement.<any(html, json):ending>")
@require_role("viewer")
def statement_file(name: str, release_id: int, ending: str) -> Response:
    """A release's privacy statement to keep: the file as it was signed, or a page of its own."""
    with current_service().database.read() as connection:
        content = releases.find_statement(connection, name, release_id)
    statement = releases.read_statement(content)
    if content is None or statement is None:
        abort(404)
    page = statement_page(statement, population=name, release_id=release_id).encode() if ending == "html" else content
    file_name = f"{name}-{release_id}-privacy-statement.{ending}"
    kept = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(page, headers=kept, mimetype="text/html" if ending == "html" else "application/json")


@blueprint.get("/audit")
@require_role("viewer")
def audit_log() -> str:
    """The audit log, and whether its chain holds."""
    service = current_service()
    before = read_number(request.args, "before")
    with service.database.read() as connection:
        found = trail.read_trail(connection, before)
    if before is not None and not found.entries:
        abort(404)
    return show("audit.html", section="audit", trail=found, before=before, now=clock_of(service.config).now())


def _require(connection: Connection, name: str) -> None:
    if not has_population(connection, name):
        abort(404)


def _charts(found: tuple[rounds.RoundView, ...], spent: budget.BudgetView) -> dict[str, Any]:
    """The charts of a population's newest rounds; None where there is nothing to draw."""
    ended = [one for one in found if not one.is_open]
    evaluations = recall.read_recalls(found)
    reasons = Counter(figures.words(one.abandoned_because or "unknown") for one in found if one.is_abandoned)
    return {
        "rounds": found,
        "abandoned": reasons.most_common(),
        "cohorts": charts.cohorts(found) if found else None,
        "drop_outs": charts.drop_outs(ended) if any(one.drop_outs.total for one in ended) else None,
        "phases_lost_in": list(rounds.PHASES_LOST_IN.values()),
        "recall": evaluations,
        "recalls": charts.recalls(evaluations.rounds, evaluations.measured) if evaluations.is_readable else None,
        "spending": charts.spending(found, spent.by_round, spent.limit) if spent.has_line(found) else None,
        "durations": charts.durations(ended) if ended else None,
        "bytes_up": charts.bytes_up(found) if found else None,
    }
