"""The device's side of the HTTP API. Nothing that comes back is trusted: its length, type and content are checked."""

from dataclasses import dataclass
from typing import TypeVar

from device_runtime.network.address import is_loopback
from device_runtime.network.exchange import (
    Accepted,
    Answer,
    Exchanges,
    Expected,
    MalformedAnswer,
    ServiceRefused,
    ServiceUnavailable,
)
from device_runtime.network.file_cache import FileCache
from device_runtime.network.transfer import TransferStopped
from protocol import routes
from protocol.enrolment import Enrol, Enrolled
from protocol.errors import MalformedMessage, WrongContent
from protocol.manifest import FileEntry, SignedManifest, check_content
from protocol.messages import (
    CheckIn,
    CheckInAnswer,
    Receipt,
    Selected,
    decode_message,
    encode_message,
)
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE
from protocol.update import UPDATE_MEDIA_TYPE

__all__ = [
    "MalformedAnswer",
    "NotYet",
    "ServiceClient",
    "ServiceRefused",
    "ServiceUnavailable",
    "is_loopback",
]

MAX_GROUP_MESSAGE_BYTES = 2 * 1024 * 1024
"""Of what a group is told: the roster of the largest that a plan may ask for has 1.1 MB."""
RETRY_AFTER_S = 5.0
"""Where an answer that says `not yet` does not say when."""

_NOTHING = Expected(max_bytes=0, media_type=None)
_GROUP_MESSAGE = Expected(max_bytes=MAX_GROUP_MESSAGE_BYTES, media_type=SECURE_MEDIA_TYPE)
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class NotYet:
    """The group is not there yet: ask again in so many seconds."""

    retry_after_s: float


class ServiceClient(Exchanges):
    """Speaks to one service: what a device says, and what it makes of the answers.

    Every method may also raise `TransferStopped`, once `should_stop` says so.
    """

    def enrol(self, population: str, message: Enrol) -> Enrolled:
        """Shows the service this device's key; `signer` must sign with it. Asking again is safe.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        answer = self._signed_exchange("POST", routes.devices(population), encode_message(message))
        enrolled = _decode(answer, Enrolled)
        if (enrolled.device_id, enrolled.public_key) != (message.device_id, message.public_key):
            raise MalformedAnswer("an enrolment must name the device and key that asked for it, got others")
        return enrolled

    def check_in(self, population: str, message: CheckIn) -> CheckInAnswer:
        """Offers this device for a round.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        answer = self._signed_exchange("POST", routes.check_ins(population), encode_message(message))
        return _decode(answer, CheckInAnswer)  # type: ignore[arg-type]  # a union is no type, but msgspec takes it

    def fetch_file(self, entry: FileEntry, cache: FileCache | None = None) -> bytes:
        """Downloads the file that `entry` names and verifies it.

        Args:
          entry: names it.
          cache: where the beginning of a download that is interrupted is kept, and where the next one finds it; a
            beginning that led nowhere is forgotten. None to begin anew each time.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there; the last also for wrong content.

        """
        body = bytearray() if cache is None else bytearray(cache.get_beginning(entry))
        path, headers = routes.file(entry.sha256), {"Range": f"bytes={len(body)}-"} if body else {}
        beginning = b""
        try:
            expected = Expected(max_bytes=entry.size_bytes, media_type=None)
            self._exchange("GET", path, None, headers, expected, answered=body)
            return check_content(bytes(body), entry)
        except WrongContent as error:
            raise MalformedAnswer(f"a file's content was wrong: {error}") from None
        except (ServiceUnavailable, TransferStopped):
            beginning = bytes(body)
            raise
        finally:
            if cache is not None:
                cache.put_beginning(entry, beginning)

    def report(self, assignment: Selected, update: bytes) -> Receipt:
        """Uploads an encoded update. Sending the same one twice is safe: it counts once.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        headers = {**_authorization(assignment), "Content-Type": UPDATE_MEDIA_TYPE}
        path = routes.report(assignment.round_id, assignment.assignment_id)
        return _decode_receipt(self._signed_exchange("PUT", path, update, headers), assignment)

    def tell_group(self, assignment: Selected, message: str, payload: bytes) -> float:
        """Sends a message of secure aggregation; `routes.secure_aggregation` names them. Sending it twice is safe.

        Returns:
          Seconds >= 0 after which it is worth while to ask what follows; 0 where the service does not say.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        path, headers = _group_route(assignment, message), _group_headers(assignment)
        return self._signed_exchange("PUT", path, payload, headers, _NOTHING).retry_after_s or 0.0

    def report_to_group(self, assignment: Selected, payload: bytes) -> Receipt:
        """Sends the last message of secure aggregation. Sending it twice is safe.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        path = _group_route(assignment, "unmasking")
        return _decode_receipt(self._signed_exchange("PUT", path, payload, _group_headers(assignment)), assignment)

    def ask_group(self, assignment: Selected, message: str) -> bytes | NotYet:
        """What the group is told at a stage, unverified, or when to ask again.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        path, headers = _group_route(assignment, message), _group_headers(assignment)
        try:
            return self._signed_exchange("GET", path, None, headers, _GROUP_MESSAGE).body
        except Accepted as answer:
            return NotYet(RETRY_AFTER_S if answer.retry_after_s is None else answer.retry_after_s)

    def fetch_release(self, population: str) -> SignedManifest:
        """The newest release's manifest, unverified.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        return _decode(self._signed_exchange("GET", routes.release(population), None), SignedManifest)


def _group_route(assignment: Selected, message: str) -> str:
    return routes.secure_aggregation(assignment.round_id, assignment.assignment_id, message)


def _group_headers(assignment: Selected) -> dict[str, str]:
    return {**_authorization(assignment), "Content-Type": SECURE_MEDIA_TYPE}


def _authorization(assignment: Selected) -> dict[str, str]:
    return {"Authorization": f"Bearer {assignment.assignment_token}"}


def _decode(answer: Answer, message_type: type[AnswerT]) -> AnswerT:
    try:
        return decode_message(answer.body, message_type)
    except MalformedMessage as error:
        raise MalformedAnswer(str(error)) from None


def _decode_receipt(answer: Answer, assignment: Selected) -> Receipt:
    receipt = _decode(answer, Receipt)
    if receipt.assignment_id != assignment.assignment_id:
        raise MalformedAnswer("a receipt must name the assignment that was reported, got another")
    return receipt
