"""PUT and GET the messages of secure aggregation."""

from flask import Blueprint, Response, g

from aggregation_service.coordination.secure.standing import Standing
from aggregation_service.identity.authentication import authenticate
from aggregation_service.resources.bodies import message_response, read_body
from aggregation_service.resources.reports import bearer_token
from aggregation_service.rounds.groups import SENT_AT, TOLD_AT
from aggregation_service.service import current_service
from protocol import routes
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE

blueprint = Blueprint("secure_aggregation", __name__)


def _route(message: str) -> str:
    return routes.secure_aggregation("<round_id>", "<assignment_id>", message)


@blueprint.put(_route("keys"), endpoint="keys")
def put_keys(round_id: str, assignment_id: str) -> Response:
    """Takes a device's bundle of keys: it waits for a group from now on."""
    secure = current_service().coordinator.secure
    standing = _standing(round_id, assignment_id)
    secure.advertise(standing, _read_body(standing, "keys"))
    return _later(standing, 204)


def put_message(message: str, round_id: str, assignment_id: str) -> Response:
    """Takes a member's message of a stage; its last is answered by `Receipt`."""
    secure = current_service().coordinator.secure
    standing = _standing(round_id, assignment_id)
    stage = SENT_AT[message]
    secure.check_turn(standing, stage)
    with secure.receiving(standing, stage):
        receipt = secure.answer(standing, stage, _read_body(standing, message))
    return _later(standing, 204) if receipt is None else message_response(receipt)


def get_message(message: str, round_id: str, assignment_id: str) -> Response:
    """Tells a member what its stage begins with, or by 202 to ask again. A nonce is not spent: it may ask twice."""
    standing = _standing(round_id, assignment_id)
    told = current_service().coordinator.secure.tell(standing, TOLD_AT[message])
    if told is None:
        return _later(standing, 202)
    response = Response(told, content_type=SECURE_MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _add_rules() -> None:
    for name in SENT_AT:
        blueprint.add_url_rule(_route(name), f"put_{name}", put_message, methods=["PUT"], defaults={"message": name})
    for name in TOLD_AT:
        blueprint.add_url_rule(_route(name), f"get_{name}", get_message, methods=["GET"], defaults={"message": name})


_add_rules()


def _standing(round_id: str, assignment_id: str) -> Standing:
    """Checks who asks, and reads where it stands, before any body is read."""
    coordinator = current_service().coordinator
    g.population = coordinator.population_of(round_id)
    token = bearer_token()
    caller = authenticate(g.population)
    coordinator.catch_up(g.population)
    return coordinator.secure.standing(round_id, assignment_id, token, caller)


def _read_body(standing: Standing, message: str) -> bytes:
    body = read_body(SECURE_MEDIA_TYPE, current_service().coordinator.secure.max_bytes(standing, message))
    standing.caller.check_body(body)
    return body


def _later(standing: Standing, status: int) -> Response:
    """Nothing but a hint when it is worth asking what comes next: others are to answer first."""
    response = Response(status=status)
    response.headers["Retry-After"] = str(standing.poll_s)
    response.headers["Cache-Control"] = "no-store"
    return response
