"""GET the newest release."""

from flask import Blueprint, Response

from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import message_response
from aggregation_service.service import current_service, require_population
from aggregation_service.storage.books import newest_release
from protocol import routes

blueprint = Blueprint("releases", __name__)


@blueprint.get(routes.release("<population>"))
def release(population: str) -> Response:
    """Answers by the population's newest `SignedManifest` of purpose `release`."""
    require_population(population)
    with current_service().database.read() as connection:
        manifest = newest_release(connection, population)
    if manifest is None:
        raise Refused(RefusalKind.NO_RELEASE, "this population has no release yet")
    return message_response(manifest)
