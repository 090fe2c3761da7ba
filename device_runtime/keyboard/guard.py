"""Who may talk to the page, and what the page may do: loopback names, its own origin, a strict policy.

The token in the address keeps out whoever cannot guess it; this is what stands should the token leak.
"""

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from device_runtime.keyboard.answers import MAX_BODY_BYTES, problem
from device_runtime.network.client import is_loopback

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def guard(app: Flask) -> None:
    """Puts the checks before, and the headers behind, every answer of `app`; errors become problem+json."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_refuse_strangers)
    app.after_request(_add_headers)
    app.register_error_handler(HTTPException, problem)


def _refuse_strangers() -> None:
    """A foreign name that resolves to this machine (DNS rebinding) is not served, nor another site's request."""
    if not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        abort(403, "The page must be opened by its loopback address.")
    if not _is_same_origin():
        abort(403, "A request must come from the page itself.")


def _is_same_origin() -> bool:
    """What the browser says about where the request comes from; a browser always says it of one that changes things.

    | method | Sec-Fetch-Site      | Origin   | same |
    |--------|---------------------|----------|------|
    | any    | same-origin         | own/none | yes  |
    | GET    | none (address line) | none     | yes  |
    | any    | another             | any      | no   |
    | any    | any                 | another  | no   |
    | GET    | absent              | none     | yes  |
    | POST   | absent              | absent   | no   |
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is not None and origin != request.host_url.rstrip("/"):
        return False
    if request.method in _SAFE_METHODS:
        return site in (None, "same-origin", "none")
    return site == "same-origin" or (site is None and origin is not None)


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response
