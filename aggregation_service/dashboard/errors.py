"""Errors of the pages as pages: a title, one sentence, and a way back."""

from http import HTTPStatus

from flask import Blueprint, Response, g, make_response, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from aggregation_service import problems
from aggregation_service.privacy.ledger import UnknownEvent
from aggregation_service.refusals import Refused

_SENTENCES = {
    HTTPStatus.BAD_REQUEST: "The form is not from this session, or a value in it cannot be read. "
    "Go back, reload the page, and try again.",
    HTTPStatus.NOT_FOUND: "There is no such page: a population or a release by this name does not exist.",
}


def install(blueprint: Blueprint) -> None:
    """Makes the errors of `blueprint`'s views pages; programs that do not take HTML get problems, as everywhere."""
    blueprint.register_error_handler(Refused, _refused)
    blueprint.register_error_handler(HTTPException, _http_error)
    blueprint.register_error_handler(UnknownEvent, _unknown_event)


def error_page(status: HTTPStatus, text: str) -> Response:
    """A page that tells what went wrong."""
    logged_in = {"operator": g.operator, "logout_address": url_for("operators.logout")} if "operator" in g else {}
    page = render_template("dashboard/error.html", title=status.phrase, text=text, **logged_in)
    return make_response(page, status)


def _refused(error: Refused) -> Response:
    problem = problems.refuse(error)  # which counts it
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        return problem
    page = error_page(HTTPStatus(problem.status_code), f"{error.detail[0].upper()}{error.detail[1:]}.")
    page.headers.update(error.headers)
    return page


def _http_error(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    return error_page(status, _SENTENCES.get(status, f"{status.description or status.phrase}."))


def _unknown_event(error: UnknownEvent) -> Response:
    text = f"The privacy spent cannot be told: {error}. A newer version of the service may have written it."
    return error_page(HTTPStatus.INTERNAL_SERVER_ERROR, text)
