"""GET a file by its content's hash."""

from io import BytesIO

from flask import Blueprint, Response, send_file

from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.service import current_service
from aggregation_service.storage.files import find_content
from protocol import routes

blueprint = Blueprint("files", __name__)


@blueprint.get(routes.file("<sha256>"))
def file(sha256: str) -> Response:
    """Sends a file, all or a range of it. It never changes, so that whoever holds it need not ask again."""
    with current_service().database.read() as connection:
        content = find_content(connection, sha256)
    if content is None:
        raise Refused(RefusalKind.UNKNOWN_FILE, "there is no such file")
    response = send_file(BytesIO(content), mimetype="application/octet-stream", etag=sha256, conditional=True)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
