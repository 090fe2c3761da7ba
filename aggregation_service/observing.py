"""Every request gets an id, one line in the log, and its place in the histogram.

The line and the histogram know a request by its route's template, never by its path, which holds ids.
"""

import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from aggregation_service import metrics
from aggregation_service.logs import log_event

REQUEST_ID = "X-Request-Id"
UNKNOWN_ROUTE = "unknown"

_WELL_FORMED = re.compile(r"[0-9A-Za-z_-]{8,64}\Z")
_QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines; counted, but not worth a line."""


def observe(app: Flask, trusted_proxies: int) -> None:
    """Makes `app` tell what it does. Call it before anything else that looks at requests.

    Args:
      app: without a request served yet.
      trusted_proxies: how many proxies stand before it; their word on a request's id is taken.

    """
    app.before_request(_begin if trusted_proxies == 0 else _begin_behind_proxy)
    app.after_request(_end)


def _begin() -> None:
    _begin_as(secrets.token_hex(16))


def _begin_behind_proxy() -> None:
    wanted = request.headers.get(REQUEST_ID, "")
    _begin_as(wanted if _WELL_FORMED.match(wanted) else secrets.token_hex(16))


def _begin_as(request_id: str) -> None:
    g.request_id = request_id
    g.began_at = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)


def _end(response: Response) -> Response:
    """Runs before the answer is sent: a device that reads slowly does not count as a slow service."""
    response.headers[REQUEST_ID] = g.request_id
    route = UNKNOWN_ROUTE if request.url_rule is None else request.url_rule.rule
    method = request.method if route != UNKNOWN_ROUTE else UNKNOWN_ROUTE
    seconds = time.perf_counter() - g.began_at
    metrics.request_served(method, route, response.status_code, seconds)
    if route not in _QUIET:
        log_event(
            "request",
            method=method,
            route=route,
            status=response.status_code,
            ms=round(seconds * 1000, 1),
            bytes_in=request.content_length or 0,
            bytes_out=response.content_length or 0,
        )
    return response
