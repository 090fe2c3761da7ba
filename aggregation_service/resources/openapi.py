"""GET the API's description."""

from flask import Blueprint, Response

from aggregation_service.openapi.document import openapi_document

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Answers by an OpenAPI 3.1 document."""
    response = Response(openapi_document(), content_type="application/json")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response
