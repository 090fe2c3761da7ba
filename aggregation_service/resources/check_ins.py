"""POST a check-in."""

from flask import Blueprint, Response

from aggregation_service.identity.authentication import authenticate
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import message_response, read_body
from aggregation_service.service import current_service, require_population
from protocol import routes
from protocol.errors import MalformedMessage
from protocol.messages import MAX_MESSAGE_BYTES, CheckIn, decode_message

blueprint = Blueprint("check_ins", __name__)


@blueprint.post(routes.check_ins("<population>"))
def check_in(population: str) -> Response:
    """Answers a `CheckIn` by `Selected` or `ComeBack`."""
    require_population(population)
    caller = authenticate(population)
    body = read_body("application/json", MAX_MESSAGE_BYTES)
    caller.check_body(body)
    try:
        message = decode_message(body, CheckIn)
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_MESSAGE, str(error)) from None
    return message_response(current_service().coordinator.check_in(population, message, caller))
