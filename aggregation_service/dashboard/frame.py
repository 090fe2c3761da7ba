"""What all pages have in common: headers that forbid every script, errors that are pages, who looks at them."""

from typing import Any

from flask import Blueprint, Response, render_template, request, url_for

from aggregation_service.dashboard import errors, figures
from aggregation_service.operators.access import current_operator
from aggregation_service.operators.accounts import Role

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


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    if request.endpoint != "dashboard.static":
        response.headers["Cache-Control"] = "no-store"
    return response
