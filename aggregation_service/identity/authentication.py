"""Who sent the current request: its signature, checked against the enrolled key."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import request

from aggregation_service.identity import devices
from aggregation_service.identity.caller import Caller
from aggregation_service.limits import limit_device
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.service import clock_of, current_service
from protocol.errors import MalformedMessage, WrongSignature
from protocol.signed_requests import (
    MAX_CLOCK_SKEW_S,
    TIME_HEADER,
    RequestSignature,
    read_signature,
    verify_request,
)

NONCE_KEPT_S = 2 * MAX_CLOCK_SKEW_S
"""Seconds from a request's time until its nonce is forgotten: the leader, which forgets it, may be so far ahead of
another host's clock, by which the request is still young enough to be served."""


def authenticate(population: str) -> Caller:
    """Checks who sent the current request, without reading its body.

    Raises:
      Refused: MALFORMED_MESSAGE: not signed, or headers of another form. CLOCK_SKEW: too far from the service's clock,
        whose time the answer tells. UNKNOWN_DEVICE, REVOKED_DEVICE: not, or no longer, enrolled in `population`.
        WRONG_SIGNATURE: not by the device's key, or of another request. TOO_MANY_REQUESTS: above the device's limit.

    """
    signature = signature_of_request()
    with current_service().database.read() as connection:
        device = devices.find(connection, population, signature.device_id)
    if device is None:
        raise Refused(RefusalKind.UNKNOWN_DEVICE, "the device must be enrolled in this population first")
    if device.revoked:
        raise Refused(RefusalKind.REVOKED_DEVICE, "the device's key was revoked")
    caller = verified_caller(signature, device.public_key)
    limit_device(population, caller.device_id)
    return caller


def signature_of_request() -> RequestSignature:
    """Reads the current request's signature and checks its time; verifies nothing else.

    Raises:
      Refused: MALFORMED_MESSAGE, CLOCK_SKEW: as `authenticate`.

    """
    try:
        signature = read_signature(dict(request.headers))
    except MalformedMessage as error:
        raise Refused(RefusalKind.MALFORMED_MESSAGE, str(error)) from None
    now = clock_of(current_service().config).now()
    if abs(signature.at - now) > MAX_CLOCK_SKEW_S:
        raise Refused(
            RefusalKind.CLOCK_SKEW,
            f"a request's time must be within {MAX_CLOCK_SKEW_S} s of the service's",
            headers={TIME_HEADER: str(int(now))},
        )
    return signature


def verified_caller(signature: RequestSignature, public_key: Ed25519PublicKey) -> Caller:
    """Checks that `public_key` signed the current request.

    Raises:
      Refused: WRONG_SIGNATURE: it did not.

    """
    query = request.query_string.decode("latin-1")
    path = f"{request.path}?{query}" if query else request.path  # without the prefix that a proxy may have added
    service = current_service().public_key
    try:
        verify_request(signature, public_key, service=service, method=request.method, path=path)
    except WrongSignature as error:
        raise Refused(RefusalKind.WRONG_SIGNATURE, str(error)) from None
    return Caller(
        device_id=signature.device_id,
        nonce=signature.nonce,
        expires_at=float(signature.at + NONCE_KEPT_S),
        body_sha256=signature.body_sha256,
    )
