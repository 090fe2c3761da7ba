"""The device's side of the HTTP API. Nothing that comes back is trusted: its length, type and content are checked."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError as TransportError

from device_runtime.network.breakable import BreakableAdapter
from device_runtime.network.file_cache import FileCache
from device_runtime.network.identity import RequestSigner
from device_runtime.network.transfer import Body, Transfer, TransferStopped, TransferTimeout
from protocol import routes
from protocol.enrolment import Enrol, Enrolled
from protocol.errors import MalformedMessage, WrongContent
from protocol.manifest import FileEntry, SignedManifest, check_content
from protocol.messages import (
    MAX_MESSAGE_BYTES,
    CheckIn,
    CheckInAnswer,
    Problem,
    Receipt,
    Selected,
    decode_message,
    encode_message,
)
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE
from protocol.signed_requests import TIME_HEADER
from protocol.update import UPDATE_MEDIA_TYPE

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 30.0
"""Longest wait for the next bytes."""
TRANSFER_TIMEOUT_S = 300.0
"""Longest wait for a whole exchange, however steadily it drips."""

MAX_GROUP_MESSAGE_BYTES = 2 * 1024 * 1024
"""Of what a group is told: the roster of the largest that a plan may ask for has 1.1 MB."""
RETRY_AFTER_S = 5.0
"""Where an answer that says `not yet` does not say when."""

_CHUNK_BYTES = 64 * 1024
_BUSY_STATUSES = (429,)
_PROBLEM_TYPE = "urn:keychorus:problem:"
AnswerT = TypeVar("AnswerT")


class ServiceUnavailable(Exception):
    """No answer, a broken one, or one that says: later. The same request may be sent again."""


class MalformedAnswer(Exception):
    """An answer that the protocol does not allow: redirect, wrong type, too long, not decodable."""


class _Accepted(MalformedAnswer):
    """Status 202: fine where others are waited for, malformed everywhere else.

    Attributes:
      retry_after_s: when to ask again.

    """

    def __init__(self, retry_after_s: float):
        super().__init__("the answer must be complete, got status 202")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class NotYet:
    """The group is not there yet: ask again in so many seconds."""

    retry_after_s: float


class ServiceRefused(Exception):
    """The service said no; the same request will not do better.

    Attributes:
      problem: the service's reason, or None where it gave none in the agreed form.
      kind: the reason's name, such as `unknown_device`; empty where it gave none.
      service_time: the service's clock, where it refused a request for its time; in seconds since 1970.

    """

    def __init__(self, status: int, problem: Problem | None, service_time: int | None = None):
        title = f"{problem.title[:80]!r}" if problem else "no reason given"  # quoted: it may hold line breaks
        super().__init__(f"the service refused with status {status}: {title}")
        self.problem = problem
        self.kind = problem.type.removeprefix(_PROBLEM_TYPE) if problem else ""
        self.service_time = service_time if self.kind == "clock_skew" else None


class InsecureAddress(Exception):
    """A service address that would send updates over the network unencrypted."""


class ServiceClient:
    """Speaks to one service and counts the bytes of bodies in both directions.

    Every method may also raise `TransferStopped`, once `should_stop` says so. Not for use by two threads at once.

    Attributes:
      signer: signs all requests but those for files, which are public and may come from a cache; None to sign none.
      bytes_up: bytes sent so far.
      bytes_down: bytes received so far.

    """

    def __init__(self, base_url: str, session: requests.Session, should_stop: Callable[[], bool] = lambda: False):
        """Takes the address that the API's routes are appended to.

        Args:
          base_url: https, or http to this very machine.
          session: of `environment.new_session`, which can be broken off.
          should_stop: polled during transfers from the calling thread; True ends them within a tenth of a second.

        Raises:
          InsecureAddress: not https, and not http to this very machine.

        """
        self._base_url = check_address(base_url)
        self._session = session
        self._should_stop = should_stop
        self.signer: RequestSigner | None = None
        self.bytes_up = 0
        self.bytes_down = 0

    def enrol(self, population: str, message: Enrol) -> Enrolled:
        """Shows the service this device's key; `signer` must sign with it. Asking again is safe.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        answer = _decode(self._signed_exchange("POST", routes.devices(population), encode_message(message)), Enrolled)
        if (answer.device_id, answer.public_key) != (message.device_id, message.public_key):
            raise MalformedAnswer("an enrolment must name the device and key that asked for it, got others")
        return answer

    def check_in(self, population: str, message: CheckIn) -> CheckInAnswer:
        """Offers this device for a round.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        body = self._signed_exchange("POST", routes.check_ins(population), encode_message(message))
        return _decode(body, CheckInAnswer)  # type: ignore[arg-type]  # a union is no type, but msgspec takes it

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
            self._exchange("GET", path, None, headers, max_bytes=entry.size_bytes, media_type=None, answered=body)
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

    def tell_group(self, assignment: Selected, message: str, payload: bytes) -> None:
        """Sends a message of secure aggregation; `routes.secure_aggregation` names them. Sending it twice is safe.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        self._signed_exchange(
            "PUT", _group_route(assignment, message), payload, _group_headers(assignment), max_bytes=0, media_type=None
        )

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
            return self._signed_exchange(
                "GET", path, None, headers, max_bytes=MAX_GROUP_MESSAGE_BYTES, media_type=SECURE_MEDIA_TYPE
            )
        except _Accepted as answer:
            return NotYet(answer.retry_after_s)

    def fetch_release(self, population: str) -> SignedManifest:
        """The newest release's manifest, unverified.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        return _decode(self._signed_exchange("GET", routes.release(population), None), SignedManifest)

    def _signed_exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        *,
        max_bytes: int = MAX_MESSAGE_BYTES,
        media_type: str | None = "application/json",
    ) -> bytes:
        """`_exchange` as the signer's device; again, once, if nothing but the time of its signature was wrong."""

        def exchange() -> bytes:
            signed = {} if self.signer is None else self.signer.sign(method, path, body or b"")
            sent = {**(headers or {}), **signed}
            return self._exchange(method, path, body, sent, max_bytes=max_bytes, media_type=media_type)

        try:
            return exchange()
        except ServiceRefused as error:
            if self.signer is None or error.service_time is None:
                raise
            self.signer.correct(error.service_time)
        return exchange()

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        *,
        max_bytes: int = MAX_MESSAGE_BYTES,
        media_type: str | None = "application/json",
        answered: bytearray | None = None,
    ) -> bytes:
        """Sends one request and returns the body of a good answer; it grows in `answered`, after what is there."""
        # identity: a compressed answer could be a thousand times longer than it looks
        sent_headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        request = requests.Request(method, self._base_url + path, headers=sent_headers)
        answered = bytearray() if answered is None else answered

        def call(transfer: Transfer[bytes]) -> bytes:
            with self._send(request, body, transfer) as response:
                return self._read_answer(response, transfer, max_bytes, media_type, answered)

        try:
            return Transfer(call, self._break_off).wait(self._should_stop, TRANSFER_TIMEOUT_S)
        except TransferTimeout as error:
            raise ServiceUnavailable(str(error)) from None
        except (requests.RequestException, TransportError, OSError) as error:
            raise ServiceUnavailable(f"the service could not be reached: {type(error).__name__}") from None

    def _send(self, request: requests.Request, body: bytes | None, transfer: Transfer[bytes]) -> requests.Response:
        def count(num_bytes: int) -> None:
            transfer.check()
            self.bytes_up += num_bytes

        prepared = self._session.prepare_request(request)
        if body is not None:
            prepared.prepare_body(Body(body, count), None)
        timeout = CONNECT_TIMEOUT_S, SILENCE_TIMEOUT_S
        return self._session.send(prepared, timeout=timeout, allow_redirects=False, stream=True)

    def _break_off(self) -> None:
        adapter = self._session.get_adapter(self._base_url)
        if isinstance(adapter, BreakableAdapter):
            adapter.break_all()

    def _read_answer(
        self,
        response: requests.Response,
        transfer: Transfer[bytes],
        max_bytes: int,
        media_type: str | None,
        body: bytearray,
    ) -> bytes:
        status = response.status_code
        if status >= 500 or status in _BUSY_STATUSES:
            raise ServiceUnavailable(f"the service answered with status {status}")
        if status >= 400:
            raise ServiceRefused(status, self._read_problem(response, transfer), _service_time(response))
        if not 200 <= status < 300:
            raise MalformedAnswer(f"status must be 2xx, 4xx or 5xx, got {status}; redirects are not followed")
        if status == HTTPStatus.ACCEPTED:
            raise _Accepted(_retry_after_s(response))
        if media_type is not None and _media_type(response) != media_type:
            raise MalformedAnswer(f"the answer must be of type {media_type}, got another")
        if status != HTTPStatus.PARTIAL_CONTENT:
            body.clear()  # all of it comes
        return self._read_body(response, transfer, max_bytes, body)

    def _read_problem(self, response: requests.Response, transfer: Transfer[bytes]) -> Problem | None:
        if _media_type(response) != "application/problem+json":
            return None
        try:
            return decode_message(self._read_body(response, transfer, MAX_MESSAGE_BYTES, bytearray()), Problem)
        except (MalformedMessage, MalformedAnswer):
            return None

    def _read_body(
        self, response: requests.Response, transfer: Transfer[bytes], max_bytes: int, body: bytearray
    ) -> bytes:
        """Appends to `body`, to at most `max_bytes`: an endless one ends here."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise MalformedAnswer("the answer must not be compressed, as it was not asked to be")
        for chunk in response.iter_content(_CHUNK_BYTES):
            transfer.check()
            self.bytes_down += len(chunk)
            body += chunk
            if len(body) > max_bytes:
                raise MalformedAnswer(f"the answer must have at most {max_bytes} bytes, got more")
        return bytes(body)


def check_address(base_url: str) -> str:
    """Returns `base_url` without its last slash, if devices may use it.

    Raises:
      InsecureAddress: not https, and not http to this very machine.

    """
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:
        raise InsecureAddress("a service address must be a URL") from None
    if not host or parts.username or parts.query or parts.fragment:
        raise InsecureAddress("a service address must be scheme, host and path only")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return base_url.rstrip("/")
    raise InsecureAddress(f"a service address must be https, or http to this machine, got {parts.scheme} to {host}")


def is_loopback(host: str) -> bool:
    """Whether `host` is this very machine.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("127.0.0.1.example.org")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _group_route(assignment: Selected, message: str) -> str:
    return routes.secure_aggregation(assignment.round_id, assignment.assignment_id, message)


def _group_headers(assignment: Selected) -> dict[str, str]:
    return {**_authorization(assignment), "Content-Type": SECURE_MEDIA_TYPE}


def _authorization(assignment: Selected) -> dict[str, str]:
    return {"Authorization": f"Bearer {assignment.assignment_token}"}


def _retry_after_s(response: requests.Response) -> float:
    told = response.headers.get("Retry-After", "")
    return float(told) if re.fullmatch("[0-9]{1,6}", told, re.ASCII) else RETRY_AFTER_S


def _service_time(response: requests.Response) -> int | None:
    told = response.headers.get(TIME_HEADER, "")
    return int(told) if re.fullmatch("[0-9]{1,12}", told, re.ASCII) else None


def _media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _decode(body: bytes, message_type: type[AnswerT]) -> AnswerT:
    try:
        return decode_message(body, message_type)
    except MalformedMessage as error:
        raise MalformedAnswer(str(error)) from None


def _decode_receipt(body: bytes, assignment: Selected) -> Receipt:
    receipt = _decode(body, Receipt)
    if receipt.assignment_id != assignment.assignment_id:
        raise MalformedAnswer("a receipt must name the assignment that was reported, got another")
    return receipt
