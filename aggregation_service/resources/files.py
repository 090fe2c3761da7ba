"""GET a file by its content's hash."""

from flask import Blueprint, Response, request
from sqlalchemy import Connection

from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.service import current_service
from aggregation_service.storage.files import find_content, find_part, find_size
from protocol import routes

blueprint = Blueprint("files", __name__)


@blueprint.get(routes.file("<sha256>"))
def file(sha256: str) -> Response:
    """Sends a file, all or a range of it. It never changes, so that whoever holds it need not ask again.

    Guarantees:
      No more is held in memory than is sent: nothing for whoever has the file already or asks by HEAD.
    """
    with current_service().database.read() as connection:
        size_bytes = find_size(connection, sha256)
        if size_bytes is None:
            raise _unknown()
        response = Response(mimetype="application/octet-stream")
        response.content_length = size_bytes
        response.set_etag(sha256)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.make_conditional(request, accept_ranges=True, complete_length=size_bytes)
        if request.method == "GET" and response.status_code in (200, 206):
            response.response = [_read(connection, sha256, response)]
    return response


def _read(connection: Connection, sha256: str, response: Response) -> bytes:
    """What `response` says that it sends."""
    part = response.content_range
    if part.start is None or part.stop is None:
        content = find_content(connection, sha256)
    else:
        content = find_part(connection, sha256, part.start, part.stop)
    if content is None:  # it was pruned this moment
        raise _unknown()
    return content


def _unknown() -> Refused:
    return Refused(RefusalKind.UNKNOWN_FILE, "there is no such file")
