"""GET whether the service works."""

from flask import Blueprint, Response
from sqlalchemy import text

from aggregation_service.service import current_service

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Answers once the database did."""
    with current_service().database.read() as connection:
        connection.execute(text("SELECT 1"))
    return Response('{"status":"ok"}', content_type="application/json")
