"""Reading request bodies and writing message answers."""

import msgspec
from flask import Response, request

from aggregation_service.refusals import RefusalKind, Refused
from protocol.messages import encode_message

MAX_DISCARDED_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


def read_body(media_type: str, max_bytes: int) -> bytes:
    """Reads the body of the current request.

    Guarantees:
      Nothing is read unless the request says how long its body is, and that is at most `max_bytes`.

    Raises:
      Refused: of another media type, without length (as chunked bodies are), or too long.
      BadRequest: it ended before its length was reached.

    """
    if request.mimetype != media_type:
        raise Refused(RefusalKind.WRONG_MEDIA_TYPE, f"the body must be {media_type}")
    if request.content_length is None:
        raise Refused(RefusalKind.LENGTH_REQUIRED, "the request must have a Content-Length")
    if request.content_length > max_bytes:
        raise Refused(
            RefusalKind.TOO_LARGE, f"the body must have at most {max_bytes} bytes, got {request.content_length}"
        )
    request.max_content_length = max_bytes
    return request.get_data(cache=False)


def discard_body() -> None:
    """Reads what is left of the current request's body, and forgets it.

    A server that closes a connection on which a device is still sending resets it, and the device may never read why
    it was refused. Only bodies longer than `MAX_DISCARDED_BYTES` are answered so.
    """
    length = request.content_length
    is_finite = length is not None or request.environ.get("wsgi.input_terminated", False)
    if not is_finite or (length or 0) > MAX_DISCARDED_BYTES:
        return
    body = request.environ["wsgi.input"]
    for _ in range(0, MAX_DISCARDED_BYTES, _CHUNK_BYTES):
        if not body.read(_CHUNK_BYTES):
            return


def message_response(message: msgspec.Struct) -> Response:
    """Answers with a message that no cache may keep."""
    response = Response(encode_message(message), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
