"""What every resource of the page shares: bodies in, JSON or a problem out, nothing typed in either's errors."""

from typing import TypeVar

import msgspec
from flask import Response, abort, request
from werkzeug.exceptions import HTTPException

MAX_TEXT_CHARS = 8_000
MAX_BODY_BYTES = 64 * 1024

_Body = TypeVar("_Body", bound=msgspec.Struct)


def read_body(kind: type[_Body]) -> _Body:
    """The request's body as `kind`.

    Raises:
      HTTPException: 415 for another media type, 413 beyond `MAX_BODY_BYTES`, 400 for anything but a `kind`. What the
        decoder says about it stays here: it may quote the body.

    """
    if request.mimetype != "application/json":
        abort(415, "A body must be application/json.")
    try:
        return msgspec.json.decode(request.get_data(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        abort(400, f"A body must be a {kind.__name__} with texts of at most {MAX_TEXT_CHARS} characters.")


def answer(value: object) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), content_type="application/json")


def problem(error: HTTPException) -> Response:
    """An error as RFC 9457 says it."""
    status = error.code or 500
    told = {"type": "about:blank", "title": error.name, "status": status, "detail": error.description or ""}
    return Response(msgspec.json.encode(told), status, content_type="application/problem+json")
