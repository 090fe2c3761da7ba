"""HTTP exchanges with the service: signed, stopped within a second, their answers bounded and checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import requests
from urllib3.exceptions import HTTPError as TransportError

from device_runtime.network.address import check_address
from device_runtime.network.breakable import BreakableAdapter
from device_runtime.network.identity import RequestSigner
from device_runtime.network.transfer import Body, Transfer, TransferTimeout
from protocol.errors import MalformedMessage
from protocol.messages import MAX_MESSAGE_BYTES, Problem, decode_message
from protocol.signed_requests import TIME_HEADER

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 30.0
"""Longest wait for the next bytes."""
TRANSFER_TIMEOUT_S = 300.0
"""Longest wait for a whole exchange, however steadily it drips."""

_CHUNK_BYTES = 64 * 1024
_BUSY_STATUSES = (429,)
_PROBLEM_TYPE = "urn:keychorus:problem:"


class ServiceUnavailable(Exception):
    """No answer, a broken one, or one that says: later. The same request may be sent again."""


class MalformedAnswer(Exception):
    """An answer that the protocol does not allow: redirect, wrong type, too long, not decodable."""


class Accepted(MalformedAnswer):
    """Status 202: fine where others are waited for, malformed everywhere else.

    Attributes:
      retry_after_s: when to ask again, or None where the answer does not say.

    """

    def __init__(self, retry_after_s: float | None):
        super().__init__("the answer must be complete, got status 202")
        self.retry_after_s = retry_after_s


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


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a good answer looks like.

    Attributes:
      max_bytes: most bytes of its body.
      media_type: of its body; None where it does not matter.

    """

    max_bytes: int = MAX_MESSAGE_BYTES
    media_type: str | None = "application/json"


@dataclass(frozen=True)
class Answer:
    """A good answer.

    Attributes:
      body: all of it.
      retry_after_s: after how many whole seconds the next request is worth while; None where it does not say.

    """

    body: bytes
    retry_after_s: float | None


MESSAGE = Expected()


class Exchanges:
    """Sends requests to one service and counts the bytes of bodies in both directions; base of `ServiceClient`.

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

    def _signed_exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        expected: Expected = MESSAGE,
    ) -> Answer:
        """`_exchange` as the signer's device; again, once, if nothing but the time of its signature was wrong.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """

        def exchange() -> Answer:
            signed = {} if self.signer is None else self.signer.sign(method, path, body or b"")
            return self._exchange(method, path, body, {**(headers or {}), **signed}, expected)

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
        expected: Expected = MESSAGE,
        *,
        answered: bytearray | None = None,
    ) -> Answer:
        """Sends one request and returns a good answer, whose body grows in `answered`, after what is there.

        Raises:
          ServiceUnavailable, ServiceRefused, MalformedAnswer: see there.

        """
        # identity: a compressed answer could be a thousand times longer than it looks
        sent_headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        request = requests.Request(method, self._base_url + path, headers=sent_headers)
        answered = bytearray() if answered is None else answered

        def call(transfer: Transfer[Answer]) -> Answer:
            with self._begin(request, body, transfer) as response:
                return self._read_answer(response, transfer, expected, answered)

        try:
            return Transfer(call, self._break_off).wait(self._should_stop, TRANSFER_TIMEOUT_S)
        except TransferTimeout as error:
            raise ServiceUnavailable(str(error)) from None
        except (requests.RequestException, TransportError, OSError) as error:
            raise ServiceUnavailable(f"the service could not be reached: {type(error).__name__}") from None

    def _begin(self, request: requests.Request, body: bytes | None, transfer: Transfer[Answer]) -> requests.Response:
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
        self, response: requests.Response, transfer: Transfer[Answer], expected: Expected, body: bytearray
    ) -> Answer:
        status = response.status_code
        if status >= 500 or status in _BUSY_STATUSES:
            raise ServiceUnavailable(f"the service answered with status {status}")
        if not _says_its_length(response):
            raise ServiceUnavailable("the answer must say its length, or it may have been cut off")
        if status >= 400:
            raise ServiceRefused(status, self._read_problem(response, transfer), _service_time(response))
        if not 200 <= status < 300:
            raise MalformedAnswer(f"status must be 2xx, 4xx or 5xx, got {status}; redirects are not followed")
        if status == HTTPStatus.ACCEPTED:
            raise Accepted(_retry_after_s(response))
        if expected.media_type is not None and _media_type(response) != expected.media_type:
            raise MalformedAnswer(f"the answer must be of type {expected.media_type}, got another")
        if status != HTTPStatus.PARTIAL_CONTENT:
            body.clear()  # all of it comes
        return Answer(self._read_body(response, transfer, expected.max_bytes, body), _retry_after_s(response))

    def _read_problem(self, response: requests.Response, transfer: Transfer[Answer]) -> Problem | None:
        if _media_type(response) != "application/problem+json":
            return None
        try:
            return decode_message(self._read_body(response, transfer, MAX_MESSAGE_BYTES, bytearray()), Problem)
        except (MalformedMessage, MalformedAnswer):
            return None

    def _read_body(
        self, response: requests.Response, transfer: Transfer[Answer], max_bytes: int, body: bytearray
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


def _says_its_length(response: requests.Response) -> bool:
    """Whether a cut would be noticed: a head that ends in its middle is read as if it were whole.

    Source: RFC 9112, section 8.
    """
    has_body = response.status_code not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    return not has_body or "Content-Length" in response.headers or "Transfer-Encoding" in response.headers


def _retry_after_s(response: requests.Response) -> float | None:
    told = response.headers.get("Retry-After", "")
    return float(told) if re.fullmatch("[0-9]{1,6}", told, re.ASCII) else None


def _service_time(response: requests.Response) -> int | None:
    told = response.headers.get(TIME_HEADER, "")
    return int(told) if re.fullmatch("[0-9]{1,12}", told, re.ASCII) else None


def _media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
