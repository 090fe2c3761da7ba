"""What all pages have in common: headers that forbid every script, errors that are pages, who looks at them."""

from typing import Any

from flask import Blueprint, Response, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from aggregation_service.dashboard import errors, figures
from aggregation_service.operators.access import current_operator
from aggregation_service.operators.accounts import Role

MAX_NUMBER = 2**31 - 1
"""The largest number that the databases' columns of ids and numbers hold: a larger one names nothing."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # the protection of forms over HTTPS reads it
    "X-Content-Type-Options": "nosniff",
}


def frame(blueprint: Blueprint) -> None:
    """Gives a blueprint of pages the headers, the errors, and the filters that its templates write with."""
    blueprint.after_request(_add_headers)
    errors.install(blueprint)
    for write in figures.FILTERS:
        blueprint.add_app_template_filter(write)


def show(template: str, **shown: Any) -> str:
    """Renders a page for the operator who asked for it, in a view under `require_role`."""
    operator = current_operator()
    return render_template(
        f"dashboard/{template}",
        operator=operator,
        may_change=operator.role.includes(Role.OPERATOR),
        logout_address=url_for("operators.logout"),
        **shown,
    )


def read_number(values: MultiDict[str, str], name: str) -> int | None:
    """A number in a query or a form; None if there is none by this name, or it is not one from 0 to `MAX_NUMBER`."""
    return _number(values.get(name, ""))


def read_numbers(values: MultiDict[str, str], name: str) -> list[int] | None:
    """All numbers of a form by this name, as `read_number`; None if one of them is none."""
    numbers = [_number(text) for text in values.getlist(name)]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(numbers) else None


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_NUMBER))
    return int(text) if is_number and int(text) <= MAX_NUMBER else None


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if request.endpoint != "dashboard.static":
        response.headers["Cache-Control"] = "no-store"
    return response
