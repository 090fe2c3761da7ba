"""Devices that never stop: they check in, report, and send a report again until they learn what became of it."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

import numpy as np
import numpy.typing as npt
from chaos.site import BRAND, NUM_VALUES, POPULATION, SPECS, Site

from protocol import routes
from protocol.messages import CheckIn, CheckInAnswer, Problem, Selected, decode_message, encode_message
from protocol.signed_requests import sha256_hex, sign_request
from protocol.update import UPDATE_MEDIA_TYPE, encode_update

GIVES_UP_AFTER_S = 30.0
_PAUSE_S = 0.02
_AGAIN = {429, 500, 502, 503}

Report = tuple[str, int]
"""A round's id and a device's number."""


class Unreachable(Exception):
    """No answer, or one that says: later."""


class Crowd:
    """All devices, each in a thread of its own, and what they know.

    Attributes:
      sent: what each report held, noted before its first byte was sent.
      acknowledged: reports that the service said it has counted.
      unexpected: refusals that no kill explains.

    """

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.sent: dict[Report, npt.NDArray[np.floating[Any]]] = {}
        self.acknowledged: set[Report] = set()
        self.unexpected: list[str] = []
        self._seen = Counter[str]()
        self._changed = threading.Condition()
        self._may_begin = threading.Event()
        self._may_begin.set()
        self._stopped = threading.Event()
        self._busy = Counter[int]()
        numbers = range(len(site.device_ids))
        self._threads = [threading.Thread(target=self._live, args=(number, [seed, number])) for number in numbers]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets every device finish what it began."""
        self._stopped.set()
        self._may_begin.set()
        for thread in self._threads:
            thread.join(2 * GIVES_UP_AFTER_S)

    def rest(self) -> None:
        """Nobody begins anything until `go_on`; returns when all are done with what they began."""
        self._may_begin.clear()
        with self._changed:
            self._changed.wait_for(lambda: not self._busy.total(), GIVES_UP_AFTER_S)

    def go_on(self) -> None:
        self._may_begin.set()

    def wait_for(self, what: str, within_s: float) -> bool:
        """Waits until the next time that a device does `what`: "sending" or "acknowledged"."""
        with self._changed:
            before = self._seen[what]
            return self._changed.wait_for(lambda: self._seen[what] > before, within_s)

    def _live(self, number: int, seed: list[int]) -> None:
        generator = np.random.default_rng(seed)
        while not self._stopped.is_set():
            self._may_begin.wait()
            if self._stopped.is_set():
                return
            self._note(number, busy=1)
            try:
                selected = self._check_in(number)
                if selected is not None:
                    self._report(number, selected, generator)
            except Unreachable:
                pass
            finally:
                self._note(number, busy=-1)
            time.sleep(_PAUSE_S * generator.uniform(0.5, 1.5))

    def _check_in(self, number: int) -> Selected | None:
        device_id = self.site.device_ids[number]
        body = encode_message(CheckIn(device_id=device_id, runtime="chaos", num_examples=100))
        status, answer = self._ask(
            number, "POST", routes.check_ins(POPULATION), body, {"Content-Type": "application/json"}
        )
        if status != 200:
            self.unexpected.append(f"a check-in was answered {status}: {answer.decode()}")
            return None
        decoded: CheckInAnswer = decode_message(answer, CheckInAnswer)  # type: ignore[arg-type]
        return decoded if isinstance(decoded, Selected) else None

    def _report(self, number: int, selected: Selected, generator: np.random.Generator) -> None:
        """Sends one report; after a break the same again, to the same assignment and with a new nonce."""
        report = (selected.round_id, number)
        update = np.zeros(SPECS[0].shape, np.float32)
        update[number] = np.concatenate([BRAND, generator.integers(1, 64, NUM_VALUES) * np.float32(2.0**-10)])
        self.sent[report] = update[number]
        body = encode_update(update.ravel())
        headers = {"Content-Type": UPDATE_MEDIA_TYPE, "Authorization": f"Bearer {selected.assignment_token}"}
        path = routes.report(selected.round_id, selected.assignment_id)
        deadline = time.monotonic() + GIVES_UP_AFTER_S
        while time.monotonic() < deadline:
            self._note(number, what="sending")
            try:
                status, answer = self._ask(number, "PUT", path, body, headers)
            except Unreachable:
                time.sleep(_PAUSE_S)
                continue
            kind = "" if status == 200 else decode_message(answer, Problem).type.rpartition(":")[2]
            if kind in {"", "duplicate_report"}:
                self.acknowledged.add(report)
                self._note(number, what="acknowledged")
            elif kind != "late_report":
                self.unexpected.append(f"a report was refused as {kind}")
            return

    def _ask(self, number: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        signature = sign_request(
            self.site.keys[number],
            service=self.site.service_key,
            method=method,
            path=path,
            body_sha256=sha256_hex(body),
            device_id=self.site.device_ids[number],
            at=int(time.time()),
            nonce=secrets.token_hex(16),
        )
        connection = HTTPConnection("127.0.0.1", self.site.port, timeout=10)
        try:
            connection.request(method, path, body, {**headers, **signature})
            response = connection.getresponse()
            status, answer = response.status, response.read()
        except (OSError, HTTPException):
            raise Unreachable from None
        finally:
            connection.close()
        if status in _AGAIN:
            raise Unreachable
        return status, answer

    def _note(self, number: int, *, busy: int = 0, what: str | None = None) -> None:
        with self._changed:
            self._busy[number] += busy
            if what is not None:
                self._seen[what] += 1
            self._changed.notify_all()
