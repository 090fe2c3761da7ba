"""What strangers send to the socket: real gunicorn, real connections, no client library that would mend a request."""

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from gunicorn_service import GunicornService, gunicorn_service, read_all
from signing_device import SignedRequest, SigningDevice

from aggregation_service import operations
from aggregation_service.config import load_config, load_signing_key, render_config
from aggregation_service.policy import PopulationPolicy
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage import models
from aggregation_service.storage.database import Database
from protocol import routes
from protocol.messages import CheckInAnswer, Problem, Selected, decode_message
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters
from protocol.signed_requests import sha256_hex
from protocol.update import encode_update

POPULATION = "en-gb"
PATIENCE_S = 1.5
NUM_WEIGHTS = 200_000
LARGE_FILE = b"TFL3" + bytes(range(256)) * 64 * 1024  # 16 MB: more than the kernel buffers for a reader that sleeps
CHECK_INS = routes.check_ins(POPULATION)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GunicornService]:
    folder = tmp_path_factory.mktemp("bad_input")
    paths = operations.initialise(folder / "service")
    config = replace(load_config(paths.config_path), request_patience_s=PATIENCE_S)
    paths.config_path.write_text(render_config(config), encoding="utf-8")
    operations.add_population(config, POPULATION)
    database = Database(config.database_url)
    with database.write() as connection:
        models.set_policy(connection, POPULATION, PopulationPolicy(enrolment="open"))
    database.close()
    operations.create_task(
        config,
        population=POPULATION,
        plan=make_plan(),
        training_graph=LARGE_FILE,
        checkpoint={"weights": np.zeros(NUM_WEIGHTS, np.float32)},
        parameters=RoundParameters(minimum_reports=1, over_selection=10),
        optimizer=ServerMomentum(momentum=0.0, learning_rate=1.0),
    )
    with gunicorn_service(paths.config_path, folder / "log") as running:
        yield running


def make_plan() -> Plan:
    return Plan(
        tensors=(TensorSpec(name="weights", shape=(NUM_WEIGHTS,)),),
        training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
        privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=2, minimum_separation_s=0),
    )


def raw(request: SignedRequest, length: int | str | None = None, **headers: str) -> bytes:
    """The bytes of a request, whose length may be a lie."""
    head = [f"{request.method} {request.path} HTTP/1.1", "Host: service"]
    head += [f"{name}: {value}" for name, value in {**request.headers, **headers}.items()]
    head += [f"Content-Length: {len(request.body) if length is None else length}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + request.body


def unsigned(*headers: str, body: bytes = b"", method: str = "POST", path: str = CHECK_INS) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: service", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer[9:12])


def send(service: GunicornService, request: SignedRequest) -> tuple[int, bytes]:
    with service.connect() as connection:
        connection.sendall(raw(request))
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


def key_of(service: GunicornService) -> Ed25519PublicKey:
    return load_signing_key(service.log_path.parent / "service" / "signing.key").public_key()


def enrolled(service: GunicornService) -> SigningDevice:
    device = SigningDevice(POPULATION, key_of(service))
    status, body = send(service, device.enrol())
    assert status == 200, body
    return device


def selected_for(service: GunicornService, device: SigningDevice) -> Selected:
    """Checks in until selected: the round before may have to be closed first."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        status, body = send(service, device.check_in())
        assert status == 200, body
        answer: CheckInAnswer = decode_message(body, CheckInAnswer)  # type: ignore[arg-type]
        if isinstance(answer, Selected):
            return answer
        time.sleep(0.1)
    raise AssertionError("never selected")


def close_a_round(service: GunicornService) -> None:
    """Two devices check in and report, and the model gets a new version."""
    before = model_version(service)
    update = encode_update(np.full(NUM_WEIGHTS, 1e-4, np.float32))
    for _ in range(2):
        device = enrolled(service)
        status, body = send(service, device.report(selected_for(service, device), update))
        assert status == 200, body
    deadline = time.monotonic() + 15
    while model_version(service) == before:
        assert time.monotonic() < deadline, "the round did not close"
        time.sleep(0.1)


def model_version(service: GunicornService) -> int:
    answer = service.exchange(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode()
    line = f'keychorus_rounds_total{{outcome="closed",population="{POPULATION}"}} '
    return sum(int(float(text.removeprefix(line))) for text in answer.splitlines() if text.startswith(line))


GZIP_BOMB = gzip.compress(b"\0" * 10_000_000)
BOTH_LENGTHS = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"

NOT_HTTP: dict[str, tuple[bytes, set[int]]] = {
    "negative length": (unsigned("Content-Length: -1"), {400}),
    "length that is no number": (unsigned("Content-Length: many"), {400}),
    "length in a foreign digit": (unsigned("Content-Length: ٣"), {400}),
    "two lengths": (unsigned("Content-Length: 3", "Content-Length: 3", body=b"abc"), {400}),
    "length and chunks": (b"POST / HTTP/1.1\r\nHost: x\r\n" + BOTH_LENGTHS, {400}),
    "chunks twice": (unsigned("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), {400}),
    "chunks of another coding": (unsigned("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), {400, 501}),
    "chunks with HTTP/1.0": (unsigned("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"), {400}),
    "space before colon": (unsigned("Content-Length : 3", body=b"abc"), {400}),
    "folded header": (unsigned("X-A: b\r\n c"), {400}),
    "bare line feed": (b"GET /health HTTP/1.1\nHost: x\n\n", {400}),
    "long line": (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n", {414}),
    "long header": (unsigned("X-Long: " + "a" * 10_000), {431}),
    "many headers": (unsigned(*(f"X-{number}: 1" for number in range(200))), {431}),
    "endless head": (b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000, {431}),
    "garbage": (b"\x00\xff\xfe\r\n\r\n" * 100, {400}),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", {400}),
    "another version": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", {400}),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
}

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "no length": (unsigned(), 400, "malformed_message"),
    "path of a parent": (unsigned(method="GET", path="/v1/../../etc/passwd"), 404, "unknown_address"),
    "zero byte in a path": (unsigned(method="GET", path="/v1/files/%00"), 404, "unknown_file"),
    "broken escape": (unsigned(method="GET", path="/v1/%zz%ff"), 404, "unknown_address"),
    "form in chunks": (unsigned("Transfer-Encoding: chunked", path="/login"), 411, "length_required"),
    "unsigned": (unsigned("Content-Length: 2", body=b"{}"), 400, "malformed_message"),
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http_gets_a_bare_answer(service: GunicornService, name: str) -> None:
    request, expected = NOT_HTTP[name]
    answer = service.exchange(request)
    assert status_of(answer) in expected
    assert b"Content-Length: 0\r\n\r\n" in answer, "nothing of the request may come back"


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_nobody_signed_are_problems(service: GunicornService, name: str) -> None:
    request, status, kind = REFUSED[name]
    problem = problem_of(service.exchange(request))
    assert (problem.status, problem.type) == (status, f"urn:keychorus:problem:{kind}")


def problem_of(answer: bytes) -> Problem:
    assert b"application/problem+json" in answer, answer
    return decode_message(answer.partition(b"\r\n\r\n")[2], Problem)


@pytest.mark.parametrize(
    ("headers", "body", "status", "kind"),
    [
        ({"Content-Encoding": "gzip"}, GZIP_BOMB, 415, "wrong_media_type"),
        ({"Content-Type": "text/plain"}, b"{}", 415, "wrong_media_type"),
        ({}, b"\xff\xfe{", 400, "malformed_message"),
        ({}, b"[" * 60_000, 400, "malformed_message"),
        ({}, b"{" * 100_000, 413, "too_large"),
    ],
)
def test_a_signed_body_that_cannot_be_read_is_a_problem(
    service: GunicornService, headers: dict[str, str], body: bytes, status: int, kind: str
) -> None:
    request = enrolled(service).sign("POST", CHECK_INS, body, **{"Content-Type": "application/json", **headers})
    problem = problem_of(service.exchange(raw(request)))
    assert (problem.status, problem.type) == (status, f"urn:keychorus:problem:{kind}")


def test_a_body_shorter_than_its_length_is_a_problem(service: GunicornService) -> None:
    request = enrolled(service).check_in(0)
    problem = problem_of(service.exchange(raw(request, length=len(request.body) + 10)))
    assert (problem.status, problem.type) == (400, "urn:keychorus:problem:bad_request")


def test_a_body_longer_than_its_length_is_not_the_next_request(service: GunicornService) -> None:
    request = enrolled(service).check_in(0)
    answers = service.exchange(raw(request) + b"surplus that is no request\r\n\r\n")
    assert status_of(answers) == 200
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400 Bad Request\r\nConnection: close" in answers


def test_chunks_are_refused_before_they_end(service: GunicornService) -> None:
    """A body that never ends: refused for having no length, read for a while out of politeness, then cut."""
    request = enrolled(service).check_in(0)
    head = raw(request, length=0).partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(head)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 200_000_000:
                sent += connection.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        answer = read_all_that_came(connection)
    assert sent < 60_000_000
    assert answer == b"" or status_of(answer) == 411


def read_all_that_came(connection: socket.socket) -> bytes:
    with contextlib.suppress(OSError):
        return read_all(connection)
    return b""


def test_pipelined_and_half_closed_requests_are_all_answered(service: GunicornService) -> None:
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = service.exchange(get * 3)
    assert answers.count(b"HTTP/1.1 200 OK") == 3


def test_a_slow_head_is_cut_with_a_word(service: GunicornService) -> None:
    with service.connect() as connection:
        began = time.monotonic()
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: ")
        assert status_of(read_all(connection)) == 408
        assert PATIENCE_S - 0.1 < time.monotonic() - began < PATIENCE_S + 3


def test_a_slow_body_is_a_problem(service: GunicornService) -> None:
    request = enrolled(service).check_in(0)
    with service.connect() as connection:
        connection.sendall(raw(replace(request, body=request.body[:10]), length=len(request.body)))
        problem = problem_of(read_all(connection))
    assert (problem.status, problem.type) == (408, "urn:keychorus:problem:timed_out")


def test_an_honest_body_may_take_the_time_that_its_bytes_take(service: GunicornService) -> None:
    """800 kB at 250 kB a second take 3 s: twice the patience, yet far faster than the slowest rate."""
    device = enrolled(service)
    request = device.report(selected_for(service, device), encode_update(np.zeros(NUM_WEIGHTS, np.float32)))
    content = raw(request)
    with service.connect() as connection:
        began = time.monotonic()
        for start in range(0, len(content), 40_000):
            connection.sendall(content[start : start + 40_000])
            time.sleep(0.15)
        response = HTTPResponse(connection)
        response.begin()
        assert (response.status, time.monotonic() - began >= 2 * PATIENCE_S) == (200, True)


Attack = Callable[[GunicornService, threading.Event], None]


def drip(service: GunicornService, stop: threading.Event, opening: bytes, drop: bytes = b"x") -> None:
    """Begins a request, and goes on by one byte now and then; if it is cut, begins another."""
    while not stop.is_set():
        with contextlib.suppress(OSError), service.connect() as connection:
            connection.sendall(opening)
            while not stop.wait(0.2):
                connection.sendall(drop)


def slow_signed_body(service: GunicornService, stop: threading.Event) -> None:
    device = enrolled(service)
    while not stop.is_set():
        drip_once = raw(replace(device.check_in(0), body=b""), length=60_000)
        with contextlib.suppress(OSError), service.connect() as connection:
            connection.sendall(drip_once)
            while not stop.wait(0.2):
                connection.sendall(b" ")


def never_reads(service: GunicornService, stop: threading.Event) -> None:
    path = routes.file(sha256_hex(LARGE_FILE))
    while not stop.is_set():
        with contextlib.suppress(OSError), service.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            stop.wait(60)


def tls_hello(service: GunicornService, stop: threading.Event) -> None:
    drip(service, stop, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, b"\x00")


def silent(service: GunicornService, stop: threading.Event) -> None:
    with contextlib.suppress(OSError), service.connect() as connection:
        while not stop.wait(0.2):
            connection.getpeername()


def lingering(service: GunicornService, stop: threading.Event) -> None:
    """Is answered by an error, and neither reads nor closes."""
    drip(service, stop, b"garbage\r\n\r\n", b"")


CROWD: tuple[tuple[int, Attack], ...] = (
    (4, lambda service, stop: drip(service, stop, b"GET /health HTTP/1.1\r\nX-A: ")),
    (3, lambda service, stop: drip(service, stop, unsigned("Content-Length: 60000"))),
    (3, lambda service, stop: drip(service, stop, unsigned("Transfer-Encoding: chunked"), b"1\r\nx\r\n")),
    (3, slow_signed_body),
    (2, never_reads),
    (2, tls_hello),
    (2, silent),
    (3, lingering),
)


@contextlib.contextmanager
def crowd(service: GunicornService, attacks: tuple[tuple[int, Attack], ...]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=attack, args=(service, stop)) for count, attack in attacks for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_while_a_crowd_of_attackers_is_connected_devices_are_served_and_rounds_close(service: GunicornService) -> None:
    assert sum(count for count, _attack in CROWD) >= 20
    with crowd(service, CROWD):
        slowest = 0.0
        device = enrolled(service)
        for _ in range(20):
            began = time.monotonic()
            assert send(service, device.check_in(0))[0] == 200
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.1)
        close_a_round(service)
    assert slowest < 5


EMPTY = "Content-Length: 60000"  # and nothing follows
FORGED = SigningDevice(POPULATION, Ed25519PrivateKey.generate().public_key()).enrol()
"""Which anybody can make, and whose signature is checked with its body."""
HOLDERS: tuple[bytes, ...] = (
    unsigned(EMPTY, path="/nowhere"),
    unsigned(EMPTY),
    unsigned(EMPTY, path="/login"),
    unsigned(EMPTY, method="GET", path="/health"),
    unsigned("Content-Length: 00000000000060000", path="/login"),
    unsigned("Transfer-Encoding: chunked", path="/login", body=b"1\r\nx\r\n"),
    raw(replace(FORGED, body=b"{"), length=60_000),
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + unsigned(EMPTY, path="/login"),
)


def knock(service: GunicornService, stop: threading.Event) -> None:
    """Eight connections a second that promise a body, each kept until the end."""
    with contextlib.ExitStack() as kept:
        for number in range(1000):
            with contextlib.suppress(OSError):
                kept.enter_context(service.connect()).sendall(HOLDERS[number % len(HOLDERS)])
            if stop.wait(1 / 8):
                return


def test_bodies_that_never_come_hold_no_thread(service: GunicornService) -> None:
    slowest = 0.0
    with crowd(service, ((8, knock),)):
        for _ in range(40):
            began = time.monotonic()
            assert status_of(service.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")) == 200
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05)
    assert slowest < 1


def test_who_is_still_sending_reads_why_it_was_refused(service: GunicornService) -> None:
    body = bytes(3_000_000)
    with service.connect() as connection:
        connection.sendall(unsigned(f"Content-Length: {len(body)}", path="/nowhere"))
        for start in range(0, len(body), 200_000):
            connection.sendall(body[start : start + 200_000])
            time.sleep(0.05)
        answer = read_all(connection)
    assert problem_of(answer).status == 404
    assert b"\r\nConnection: close\r\n" in answer


def test_a_refusal_keeps_the_connection_if_the_body_has_come(service: GunicornService) -> None:
    request = unsigned("Content-Length: 3000", path="/nowhere", body=bytes(3000))
    with service.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            assert (response.status, response.will_close) == (404, False)
            response.read()


def test_memory_stays_flat_and_nothing_leaks(service: GunicornService) -> None:
    device = enrolled(service)
    requests = [
        raw(device.sign("POST", CHECK_INS, b"x" * 2_000_000, **{"Content-Type": "application/json"})),
        unsigned("Content-Length: 4000000", body=b"x" * 4_000_000),
        raw(device.sign("POST", CHECK_INS, GZIP_BOMB, **{"Content-Encoding": "gzip"})),
        b"\x00" * 1_000_000,
    ]
    sizes: list[int] = []
    for round_number in range(20):
        for request in requests:
            answer = service.exchange(request)
            assert not any(secret in answer for secret in (b"Traceback", b"27.", b"site-packages", b"sqlalchemy"))
        if round_number in {4, 19}:
            sizes.append(service.worker_bytes())
    assert sizes[1] - sizes[0] < 20_000_000


def test_workers_stop_though_connections_are_open(service: GunicornService, tmp_path: Path) -> None:
    config_path = service.log_path.parent / "service" / "service.toml"
    with contextlib.ExitStack() as stack:
        with gunicorn_service(config_path, tmp_path / "log") as second:
            stack.enter_context(second.connect())
            stack.enter_context(second.connect()).sendall(b"GET /health HTTP/1.1\r\n")
            began = time.monotonic()
        assert time.monotonic() - began < 8


def test_the_log_of_all_this_names_nobody(service: GunicornService) -> None:
    """Runs last: reads what all tests above made the service write."""
    secret = SigningDevice(POPULATION, key_of(service))
    for request in (
        secret.enrol(),
        secret.check_in(0),
        replace(secret.check_in(0), body=b'{"passphrase": "grandmother"}'),
    ):
        service.exchange(raw(request))
    log = service.log_path.read_text(encoding="utf-8")
    assert "event=request" in log
    assert "route=/v1/populations/<population>/check-ins" in log
    for told in (secret.device_id, "127.0.0.1:", "grandmother", "X-A", "SSH", "Traceback", "surplus", "etc/passwd"):
        lines = [line for line in log.splitlines() if told in line and "Listening at" not in line]
        assert lines == []
