"""Enrolment: whether a device may join a population, by the population's policy."""

import hmac

from sqlalchemy import Connection

from aggregation_service.identity import devices, nonces, tokens
from aggregation_service.identity.attestation import AttestationVerifier
from aggregation_service.identity.caller import Caller
from aggregation_service.identity.devices import Device
from aggregation_service.policy import PopulationPolicy
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.storage.locks import lock_population
from protocol.enrolment import Enrol, request_hash
from protocol.manifest import decode_public_key


def check_verdict(
    message: Enrol, population: str, policy: PopulationPolicy, verifier: AttestationVerifier | None, now: float
) -> None:
    """Checks the attestation verdict, if the population asks for one; costs a signature, so no transaction is open.

    Raises:
      Refused: ENROLMENT_REFUSED: none was sent, it does not vouch for this key, or the service cannot read any.

    """
    if policy.enrolment != "attestation":
        return
    if verifier is None:
        raise _refused("this service is not set up to read attestation verdicts")
    if message.attestation is None:
        raise _refused("this population enrols devices by an attestation verdict, and none was sent")
    bound_to = request_hash(population, message.device_id, message.public_key)
    verifier.verify(message.attestation, request_hash=bound_to, now=now)


def admit(
    connection: Connection, population: str, message: Enrol, caller: Caller, *, policy: PopulationPolicy, now: float
) -> None:
    """Enrols the device whose request was verified with the key that it names. `check_verdict` ran before.

    Guarantees:
      what is asked again with the same id and key is granted again, without a token, and changes nothing; an id never
      changes its key, and of all enrolments of one key, however they race, one id gets it; a revoked device stays
      revoked, and so does its key.

    Raises:
      Refused: ENROLMENT_REFUSED: no valid token where the population asks for one. WRONG_DEVICE: the id belongs to
        another key, or the key to another id. REVOKED_DEVICE, REPEATED_NONCE: see there.

    """
    lock_population(connection, population)
    nonces.spend(connection, caller)
    key = decode_public_key(message.public_key)
    known = devices.find(connection, population, message.device_id)
    if known is not None:
        _check_known(known, devices.raw_key(key))
        return
    _check_new(devices.find_by_key(connection, population, key))
    enrolled_by = _proof(connection, population, message, policy, now)
    if not devices.add(connection, population, message.device_id, key, enrolled_by=enrolled_by, now=now):
        raise Refused(RefusalKind.WRONG_DEVICE, "another request is enrolling this device id just now")


def _check_known(known: Device, raw_key: bytes) -> None:
    if not hmac.compare_digest(devices.raw_key(known.public_key), raw_key):
        raise Refused(RefusalKind.WRONG_DEVICE, "this device id is enrolled with another key")
    if known.revoked:
        raise Refused(RefusalKind.REVOKED_DEVICE, "the device's key was revoked")


def _check_new(other: Device | None) -> None:
    """Checks a key against `other`, the device of another id that has it already."""
    if other is not None and other.revoked:
        raise Refused(RefusalKind.REVOKED_DEVICE, "the device's key was revoked")
    if other is not None:
        raise Refused(RefusalKind.WRONG_DEVICE, "this key is enrolled with another device id")


def _proof(connection: Connection, population: str, message: Enrol, policy: PopulationPolicy, now: float) -> str:
    """What admits the device, as its row tells."""
    if policy.enrolment != "token":
        return policy.enrolment
    if message.token is None:
        raise _refused("this population enrols devices by an operator's token, and none was sent")
    return f"token:{tokens.spend(connection, population, message.token, now)}"


def _refused(detail: str) -> Refused:
    return Refused(RefusalKind.ENROLMENT_REFUSED, detail)
