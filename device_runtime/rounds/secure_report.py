"""A secure report: a device's walk through one session of secure aggregation, a stage at a time.

    asks for        —      roster    delivery       survivors       confirmations
    sends          keys    shares    masked-input   confirmation    unmasking, answered by a receipt

Its secrets live in memory only, so a session ends with the process that began it. `protocol.secure_aggregation.client`
does the reckoning and refuses whatever a service should not say.
"""

import secrets
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_runtime.network.client import NotYet, ServiceClient
from device_runtime.rounds.configuration import PLAN
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.spool import Spool
from protocol.arrays import FloatArray
from protocol.lanes import LaneArray
from protocol.manifest import Manifest
from protocol.messages import Receipt, Selected
from protocol.plan import Plan
from protocol.secure_aggregation.client import Advertising, Confirming, Masking, Sharing, Unmasking
from protocol.secure_aggregation.inputs import encode_input, terms_of
from protocol.secure_aggregation.membership import Terms
from protocol.secure_aggregation.packing import pack, unpack
from protocol.secure_aggregation.signing import Task


class SessionLost(Exception):
    """The process that began a session has ended, and its secrets with it."""


class _Message(NamedTuple):
    """What is to be sent: its name in the address, its bytes, and what was done once the service has it."""

    name: str
    payload: bytes
    event: Event


class Told(NamedTuple):
    """A message that the service has.

    Attributes:
      event: what was done.
      retry_after_s: seconds >= 0 after which it is worth while to ask what follows.
      receipt: of the last message, None of the others.

    """

    event: Event
    retry_after_s: float = 0.0
    receipt: Receipt | None = None


class SecureReport:
    """One session of one device."""

    def __init__(self, selected: Selected, terms: Terms, identity: Ed25519PrivateKey):
        """Draws the session's keys.

        Args:
          selected: the assignment.
          terms: what the device demands of the session.
          identity: the key that the device enrolled.

        """
        self.selected = selected
        self._terms = terms
        self._stage: Sharing | Masking | Confirming | Unmasking | None
        self._stage, keys = Advertising(terms, identity, secrets.token_bytes).advertise()
        self._unsent: _Message | None = _Message("keys", keys, Event.ADVERTISED)

    @property
    def is_input_next(self) -> bool:
        """Whether the message to be sent is the masked input: from then on the device may have taken part."""
        return self._unsent is not None and self._unsent.event is Event.MASKED

    def hear(self, client: ServiceClient, spool: Spool) -> NotYet | None:
        """Asks for what the present stage needs and makes the next message of it, unless one is still to be sent.

        Args:
          client: signs as this device.
          spool: holds the update, in the form that `encode_lanes` gives it.

        Returns:
          When to ask again, or None: there is a message to send.

        Raises:
          ProtocolError: the service said something that a device must not follow; the session is over.
          UnreadableData: the update is not in the spool any more.
          ServiceUnavailable, ServiceRefused, MalformedAnswer, TransferStopped: see there.

        """
        if self._unsent is not None:
            return None
        told = client.ask_group(self.selected, self._awaited())
        if isinstance(told, NotYet):
            return told
        self._unsent = self._answer(told, spool)
        return None

    def tell(self, client: ServiceClient) -> Told:
        """Sends the message that `hear` made; the same once more if it is not known whether it arrived.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer, TransferStopped: see there.

        """
        message = self._unsent
        if message is None:
            raise RuntimeError("a message must be made by `hear` before it is sent")
        if message.event is Event.REPORTED:
            told = Told(message.event, receipt=client.report_to_group(self.selected, message.payload))
        else:
            retry_after_s = client.tell_group(self.selected, message.name, message.payload)
            told = Told(message.event, retry_after_s=retry_after_s)
        self._unsent = None
        return told

    def _awaited(self) -> str:
        match self._stage:
            case Sharing():
                return "roster"
            case Masking():
                return "delivery"
            case Confirming():
                return "survivors"
            case _:
                return "confirmations"

    def _answer(self, told: bytes, spool: Spool) -> _Message:
        """The next stage's message; a stage is spent by being asked, so nothing is ever answered twice."""
        stage, self._stage = self._stage, None
        match stage:
            case Sharing():
                self._stage, payload = stage.share(told)
                return _Message("shares", payload, Event.SHARED)
            case Masking():
                self._stage, payload = stage.mask(told, self._input(spool))
                return _Message("masked-input", payload, Event.MASKED)
            case Confirming():
                self._stage, payload = stage.confirm(told)
                return _Message("confirmation", payload, Event.CONFIRMED)
            case Unmasking():
                return _Message("unmasking", stage.unmask(told), Event.REPORTED)
            case None:
                raise SessionLost("a session that was refused must not go on")

    def _input(self, spool: Spool) -> LaneArray:
        return unpack(spool.get(self.selected.assignment_id), self._terms.vector_length, self._terms.value_bits)


class SessionMemory:
    """Holds an agent's session, and nothing else does. It may outlive the agent, never the process."""

    def __init__(self) -> None:
        self._report: SecureReport | None = None

    def hold(self, report: SecureReport) -> None:
        """Replaces what is held."""
        self._report = report

    def recall(self, selected: Selected) -> SecureReport:
        """The session of an assignment.

        Raises:
          SessionLost: it was begun by a process that has ended.

        """
        if self._report is None or self._report.selected.assignment_id != selected.assignment_id:
            raise SessionLost("the process ended within a session, whose secrets are never written down")
        return self._report

    def forget(self) -> None:
        """Forgets the session's secrets."""
        self._report = None


def task_of(manifest: Manifest, round_id: str) -> Task:
    """What a session of this round is for.

    Args:
      manifest: the round's, opened: its signature and its population are checked.
      round_id: as the service named it.

    """
    plan_sha256 = bytes.fromhex(manifest.files[PLAN].sha256)
    return Task(population=manifest.population, round_id=round_id, plan_sha256=plan_sha256)


def new_report(selected: Selected, manifest: Manifest, plan: Plan, identity: Ed25519PrivateKey) -> SecureReport:
    """Begins the session of an assignment.

    Raises:
      NotSecure: the plan's reports are plain.

    """
    return SecureReport(selected, terms_of(plan, task_of(manifest, selected.round_id)), identity)


def encode_lanes(update: FloatArray, plan: Plan, task: Task) -> bytes:
    """An update as it waits in the spool: clipped, rotated, rounded at random, with its share of noise, packed.

    Raises:
      NotSecure: the plan's reports are plain.
      NonFiniteUpdate: the update holds NaN or infinity.

    """
    terms = terms_of(plan, task)
    return pack(encode_input(update, plan, task, secrets.token_bytes), terms.value_bits)
