"""GET the release that a device should predict with."""

from flask import Blueprint, Response, request

from aggregation_service.identity.authentication import authenticate
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.releases.rollout import offered_release
from aggregation_service.resources.bodies import message_response
from aggregation_service.service import current_service, require_population
from protocol import routes
from protocol.signed_requests import SIGNATURE_HEADER

blueprint = Blueprint("releases", __name__)


@blueprint.get(routes.release("<population>"))
def release(population: str) -> Response:
    """Answers by a `SignedManifest` of purpose `release`: the newest that is rolled out to the device that signed the
    request, or to everybody if nobody signed it. A nonce is not spent: the same answer twice does no harm.
    """
    require_population(population)
    device_id = authenticate(population).device_id if SIGNATURE_HEADER in request.headers else None
    with current_service().database.read() as connection:
        found = offered_release(connection, population, device_id)
    if found is None:
        raise Refused(RefusalKind.NO_RELEASE, "this population has no release yet")
    response = message_response(found.manifest)
    response.headers["Vary"] = SIGNATURE_HEADER
    response.headers["Cache-Control"] = "private, no-cache"
    return response
