"""PUT a report."""

from flask import Blueprint, Response, g, request

from aggregation_service.identity.authentication import authenticate
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import message_response, read_body
from aggregation_service.service import current_service
from protocol import routes
from protocol.update import UPDATE_MEDIA_TYPE, encoded_bytes

BODY_SLACK_BYTES = 1024
"""Read beyond an update's exact size, so that a body slightly too long is told apart from one absurdly so."""

blueprint = Blueprint("reports", __name__)


@blueprint.put(routes.report("<round_id>", "<assignment_id>"))
def report(round_id: str, assignment_id: str) -> Response:
    """Counts an encoded update and answers by `Receipt`. The bearer is checked before the body is read."""
    coordinator = current_service().coordinator
    g.population = coordinator.population_of(round_id)
    token = bearer_token()
    caller = authenticate(g.population)
    coordinator.catch_up(g.population)
    ticket = coordinator.authorise(round_id, assignment_id, token, caller)
    with coordinator.receiving(ticket):
        longest = encoded_bytes(ticket.plan.update_size, ticket.plan.update_format) + BODY_SLACK_BYTES
        body = read_body(UPDATE_MEDIA_TYPE, longest)
        ticket.caller.check_body(body)
        return message_response(coordinator.report(ticket, body))


def bearer_token() -> str:
    """The current request's bearer token.

    Raises:
      Refused: MISSING_TOKEN: it has none.

    """
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise Refused(RefusalKind.MISSING_TOKEN, "the request must have the assignment's token as its bearer token")
    return authorization.token
