"""What a device makes of a service that refuses to know it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.environment import DeviceEnvironment
from device_runtime.network.client import ServiceRefused
from device_runtime.network.identity import RequestSigner, load_identity_key
from device_runtime.rounds.agent_state import AgentState, DamagedState, StateFile
from device_runtime.rounds.outcome import Event

REVOKED_PAUSE_S = 24 * 3600.0
"""How soon a revoked device asks again: an operator may have meant another."""


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """What follows from a refusal.

    Attributes:
      event: what to tell.
      reason: a sentence for the program's log.
      changes: to the fields of `AgentState`.
      pause_s: how long to wait, in seconds; None for as long as after other failures.

    """

    event: Event
    reason: str
    changes: Mapping[str, object] = field(default_factory=dict)
    pause_s: float | None = None


def consequence_of(refusal: ServiceRefused, state: AgentState, *, has_token: bool) -> Consequence:
    """What follows, for a device in `state` that was given an enrolment token or was not.

    | refusal                              | follows                                                    |
    |--------------------------------------|------------------------------------------------------------|
    | unknown_device, wrong_signature      | it enrols again: the service, or the device, lost the key  |
    | wrong_device, in answer to enrolment | it begins anew, id and key: it lost one of the two         |
    | enrolment_refused                    | it asks again later; a person may have to give it a token  |
    | revoked_device                       | it waits a day                                             |
    | group_ended                          | nothing but giving up the assignment: it came too late     |
    | anything else                        | nothing but giving up the assignment                       |

    What the device promised for its old id, minimum separation and newest model, stays promised under a new one.
    """
    match refusal.kind, state.enrolment:
        case (("unknown_device" | "wrong_signature"), "enrolled"):
            reason = "the service does not know this device's key any more; it enrols again"
            return Consequence(event=Event.NOT_ENROLLED, reason=reason, changes={"enrolment": "not_yet"})
        case "wrong_device", ("not_yet" | "refused"):
            reason = "the service knows this device's id or key with another; it enrols under a new id with a new key"
            return Consequence(event=Event.NOT_ENROLLED, reason=reason, changes={"device_id": secrets.token_hex(16)})
        case "enrolment_refused", _:
            return Consequence(event=Event.NOT_ENROLLED, reason=_refused(has_token), changes={"enrolment": "refused"})
        case "revoked_device", _:
            reason = "the operator of the service revoked this device's key"
            changes = {"enrolment": "revoked"}
            return Consequence(event=Event.REVOKED, reason=reason, changes=changes, pause_s=REVOKED_PAUSE_S)
        case "group_ended", _:
            return Consequence(event=Event.GROUP_ENDED, reason="the group ended, or went on without this device")
    return Consequence(event=Event.REJECTED, reason=str(refusal))


def enrolled_signer(environment: DeviceEnvironment, population: str, service: Ed25519PublicKey) -> RequestSigner | None:
    """Signs to `service` as the device that the agent enrolled in `population`; None before it has.

    Raises:
      UnusableKey: the device's key is readable by others.
      OSError: the disk cannot be read.

    """
    folder = environment.data_directory / population
    try:
        state = StateFile(folder / "agent.json").load()
    except DamagedState:
        return None  # the agent will begin a new one
    if state.enrolment != "enrolled":
        return None
    return RequestSigner(load_identity_key(folder), state.device_id, environment.clock, service)


def _refused(has_token: bool) -> str:
    if has_token:
        return "the service did not accept the enrolment token: it may be used up, expired, or another population's"
    return "the service enrols no device without its operator's token, which --enrolment-token takes"
