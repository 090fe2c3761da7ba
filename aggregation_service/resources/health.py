"""GET whether the process lives, and whether it should be sent requests."""

import math

from flask import Blueprint, Response
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.logs import log
from aggregation_service.service import Service, current_service
from aggregation_service.storage.database import OutdatedDatabase, check_is_current

MAX_SILENT_S = 10.0
"""A process that could not look after the rounds, or see another doing so, for this long is not ready."""

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Answers as long as the process does; asks nobody else, so that a database's outage restarts no worker."""
    return _answer(is_well=True)


@blueprint.get("/ready")
def ready() -> Response:
    """Answers 200 if the database has this version's tables and rounds are looked after, else 503, and no more.

    What is wrong stands in the log, for strangers ask, too.
    """
    return _answer(is_well=_is_ready(current_service()))


def _is_ready(service: Service) -> bool:
    try:
        check_is_current(service.database)
    except (SQLAlchemyError, OutdatedDatabase) as error:
        log.warning("not_ready", exc_info=error)
        return False
    if not service.candidate.has_seen_tables:  # requests are refused until its thread looks again
        return False
    silent_s = service.thread.silent_s
    if silent_s > MAX_SILENT_S:
        log.warning("not_ready because=coordinator_silent seconds=%d", math.floor(silent_s))
        return False
    return True


def _answer(*, is_well: bool) -> Response:
    body, status = ('{"status":"ok"}', 200) if is_well else ('{"status":"unavailable"}', 503)
    response = Response(body, status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
