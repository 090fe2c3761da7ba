"""Reading request bodies and writing message answers."""

from contextlib import suppress

import msgspec
from flask import Response, request

from aggregation_service.patience import Patience, TooSlow
from aggregation_service.refusals import RefusalKind, Refused
from protocol.messages import encode_message

_MAX_DISCARDED_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024


def read_body(media_type: str, max_bytes: int) -> bytes:
    """Reads the body of the current request.

    Guarantees:
      Nothing is read unless the request says how long its body is, and that is at most `max_bytes`. Nothing is ever
      decompressed. Under gunicorn it takes at most the configuration's `request_patience_s`, and the time that so many
      bytes take at its `minimum_bytes_per_s` (see `aggregation_service/patience.py`).

    Raises:
      Refused: of another media type, compressed, without length (as chunked bodies are), too long, too slow, or ended
        before its length was reached.

    """
    if request.mimetype != media_type:
        raise Refused(RefusalKind.WRONG_MEDIA_TYPE, f"the body must be {media_type}")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(RefusalKind.WRONG_MEDIA_TYPE, "the body must not be compressed")
    length = request.content_length
    if length is None:
        raise Refused(RefusalKind.LENGTH_REQUIRED, "the request must have a Content-Length")
    if length > max_bytes:
        raise Refused(RefusalKind.TOO_LARGE, f"the body must have at most {max_bytes} bytes, got {length}")
    # Not through Werkzeug's stream, which makes a slow sender and a vanished one the same.
    try:
        body: bytes = request.environ["wsgi.input"].read(length)
    except TooSlow:
        raise Refused(RefusalKind.TIMED_OUT, "the body came too slowly") from None
    except OSError:
        body = b""
    if len(body) != length:
        raise Refused(RefusalKind.BAD_REQUEST, "the body ended before its Content-Length was reached")
    return body


def refuse_chunks() -> None:
    """Refuses a body in chunks, which need never end, before Flask reads it as a form.

    Raises:
      Refused: LENGTH_REQUIRED.

    """
    if "Transfer-Encoding" in request.headers:
        raise Refused(RefusalKind.LENGTH_REQUIRED, "the request must have a Content-Length, and no Transfer-Encoding")


def discard_body() -> None:
    """Forgets what is left of the current request's body, as far as it has come already; waits for nothing.

    Under gunicorn, where more of it is to come, the connection is closed after the answer, and in such a way that a
    device that is still sending reads why it was refused: see `linger` in `aggregation_service/workers.py`.
    """
    connection = request.environ.get("gunicorn.socket")
    patient = connection if isinstance(connection, Patience) else None
    if patient is not None:
        patient.hurry()
    if not _has_come() and patient is not None:
        patient.close_after_answer()


def _has_come() -> bool:
    """Reads the body, and tells whether that was all of it."""
    if request.content_length is None:
        return "Transfer-Encoding" not in request.headers
    body = request.environ["wsgi.input"]
    with suppress(OSError):  # not there yet, or gone
        for _ in range(0, _MAX_DISCARDED_BYTES, _CHUNK_BYTES):
            if not body.read(_CHUNK_BYTES):
                return True
    return False


def message_response(message: msgspec.Struct) -> Response:
    """Answers with a message that no cache may keep."""
    response = Response(encode_message(message), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
