"""POST an enrolment."""

from flask import Blueprint, Response

from aggregation_service.identity import enrolment
from aggregation_service.identity.authentication import signature_of_request, verified_caller
from aggregation_service.identity.caller import check_digest
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.resources.bodies import message_response, read_body
from aggregation_service.service import clock_of, current_service, require_population
from aggregation_service.storage.models import get_policy
from protocol import routes
from protocol.enrolment import Enrol, Enrolled
from protocol.errors import MalformedMessage
from protocol.manifest import decode_public_key
from protocol.messages import MAX_MESSAGE_BYTES, decode_message

blueprint = Blueprint("devices", __name__)


@blueprint.post(routes.devices("<population>"))
def enrol(population: str) -> Response:
    """Answers an `Enrol` by `Enrolled`. Signed with the key it brings: who enrols a key must hold it."""
    require_population(population)
    signature = signature_of_request()
    body = read_body("application/json", MAX_MESSAGE_BYTES)
    check_digest(body, signature.body_sha256)
    try:
        message = decode_message(body, Enrol)
        key = decode_public_key(message.public_key)
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_MESSAGE, str(error)) from None
    caller = verified_caller(signature, key)
    caller.check_device(message.device_id)
    service = current_service()
    now = clock_of(service.config).now()
    with service.database.read() as connection:
        policy = get_policy(connection, population)
    enrolment.check_verdict(message, population, policy, service.attestation, now)
    with service.database.write() as connection:
        enrolment.admit(connection, population, message, caller, policy=policy, now=now)
    return message_response(Enrolled(device_id=message.device_id, public_key=message.public_key))
