"""Refusals as RFC 9457 problem bodies, each counted by kind. No stack trace and nothing of a request ever leaks."""

from http import HTTPStatus
from typing import cast

from flask import Flask, Response, current_app, g, request
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from aggregation_service import metrics
from aggregation_service.logs import log, log_event
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import discard_body
from aggregation_service.service import EXTENSION, Service, unavailable
from aggregation_service.tally import WRITTEN_EVERY_S, Tally
from protocol.messages import Problem, encode_message

TALLY = "keychorus-tally"
"""Names the app's `Tally` among its extensions; whoever made the app writes it at the end."""

PROBLEM_MEDIA_TYPE = "application/problem+json"

_STATUS = {
    RefusalKind.MALFORMED_MESSAGE: HTTPStatus.BAD_REQUEST,
    RefusalKind.MALFORMED_UPDATE: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.NON_FINITE_UPDATE: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RefusalKind.LENGTH_REQUIRED: HTTPStatus.LENGTH_REQUIRED,
    RefusalKind.WRONG_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    RefusalKind.MISSING_TOKEN: HTTPStatus.UNAUTHORIZED,
    RefusalKind.WRONG_TOKEN: HTTPStatus.FORBIDDEN,
    RefusalKind.DUPLICATE_REPORT: HTTPStatus.CONFLICT,
    RefusalKind.LATE_REPORT: HTTPStatus.GONE,
    RefusalKind.WRONG_AGGREGATION: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.WRONG_STAGE: HTTPStatus.CONFLICT,
    RefusalKind.CHANGED_MESSAGE: HTTPStatus.CONFLICT,
    RefusalKind.WRONG_GROUP_MESSAGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusalKind.GROUP_ENDED: HTTPStatus.GONE,
    RefusalKind.UNKNOWN_ASSIGNMENT: HTTPStatus.NOT_FOUND,
    RefusalKind.UNKNOWN_POPULATION: HTTPStatus.NOT_FOUND,
    RefusalKind.UNKNOWN_FILE: HTTPStatus.NOT_FOUND,
    RefusalKind.NO_RELEASE: HTTPStatus.NOT_FOUND,
    RefusalKind.UNKNOWN_DEVICE: HTTPStatus.FORBIDDEN,
    RefusalKind.REVOKED_DEVICE: HTTPStatus.FORBIDDEN,
    RefusalKind.WRONG_SIGNATURE: HTTPStatus.FORBIDDEN,
    RefusalKind.WRONG_DEVICE: HTTPStatus.FORBIDDEN,
    RefusalKind.CLOCK_SKEW: HTTPStatus.FORBIDDEN,
    RefusalKind.REPEATED_NONCE: HTTPStatus.CONFLICT,
    RefusalKind.BODY_DIGEST: HTTPStatus.BAD_REQUEST,
    RefusalKind.ENROLMENT_REFUSED: HTTPStatus.FORBIDDEN,
    RefusalKind.NOT_LOGGED_IN: HTTPStatus.UNAUTHORIZED,
    RefusalKind.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    RefusalKind.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    RefusalKind.UNKNOWN_ADDRESS: HTTPStatus.NOT_FOUND,
    RefusalKind.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    RefusalKind.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    RefusalKind.TIMED_OUT: HTTPStatus.REQUEST_TIMEOUT,
    RefusalKind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    RefusalKind.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_KIND_OF_STATUS = {
    HTTPStatus.NOT_FOUND: RefusalKind.UNKNOWN_ADDRESS,
    HTTPStatus.METHOD_NOT_ALLOWED: RefusalKind.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: RefusalKind.TOO_LARGE,
}


def status_of(kind: RefusalKind) -> HTTPStatus:
    """The status that a refusal of this kind is answered with."""
    return _STATUS[kind]


def install(app: Flask) -> None:
    """Makes every error of `app`, its own and Flask's, a problem. Its service must be there."""
    service = cast(Service, app.extensions[EXTENSION])
    # In virtual time a rehearsal reads the count right after the request.
    app.extensions[TALLY] = Tally(service.database, WRITTEN_EVERY_S if service.config.clock_path is None else 0.0)
    app.after_request(_write_tally)
    app.register_error_handler(Refused, refuse)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(DataError, _data_error)
    app.register_error_handler(OperationalError, _database_failed)
    app.register_error_handler(PoolTimeout, _database_failed)
    app.register_error_handler(Exception, _internal_error)


def refuse(error: Refused) -> Response:
    """Answers the current request by a problem, and counts it."""
    response = _problem(error.kind, _STATUS[error.kind], error.detail)
    response.headers.update(error.headers)
    if error.kind is RefusalKind.MISSING_TOKEN:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_error(error: HTTPException) -> Response:
    """What Werkzeug refuses: unknown addresses, methods, ranges, broken bodies. Its headers (Allow) are kept."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    kind = _KIND_OF_STATUS.get(status, RefusalKind.BAD_REQUEST)
    response = _problem(kind, status, f"{status.description or status.phrase}.")
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _data_error(_error: DataError) -> Response:
    """What no column can hold, such as text with a zero byte on PostgreSQL: nothing was ever stored under it."""
    if "\0" in request.path:
        return _problem(RefusalKind.UNKNOWN_ADDRESS, HTTPStatus.NOT_FOUND, "There is no such address.")
    return _problem(RefusalKind.BAD_REQUEST, HTTPStatus.BAD_REQUEST, "The request has a value that cannot be stored.")


def _database_failed(error: OperationalError | PoolTimeout) -> Response:
    """A database that went away, or is too slow: not the request's fault, and over one day."""
    log.error("database_failed", exc_info=error)
    return refuse(unavailable("the service cannot use its database just now; try again"))


def _internal_error(error: Exception) -> Response:
    """What nobody foresaw: the trace goes to the service's log, the device learns only that it happened."""
    log.error("internal_error", exc_info=error)
    return _problem(
        RefusalKind.INTERNAL_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; try again later."
    )


def _problem(kind: RefusalKind, status: HTTPStatus, detail: str) -> Response:
    _count(kind)
    discard_body()
    title = kind.replace("_", " ")
    body = Problem(type=f"urn:keychorus:problem:{kind}", title=title, status=status, detail=detail)
    response = Response(encode_message(body), status=status, content_type=PROBLEM_MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _count(kind: RefusalKind) -> None:
    """Counts a refusal, where a flood reaches neither the log nor the database."""
    population = g.get("population", "")
    metrics.refused(kind)
    if kind is RefusalKind.TOO_MANY_REQUESTS:
        return
    log_event("refused", kind=kind, population=population)
    _tally().count(population, kind)


def _tally() -> Tally:
    return cast(Tally, current_app.extensions[TALLY])


def _write_tally(response: Response) -> Response:
    _tally().write_if_due()
    return response
