"""How requests go out and answers come in, whatever they say: asked with a check-in, sent with a report."""

import gzip
import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from flask import Response, request

from device_runtime.environment import new_session
from device_runtime.network import exchange
from device_runtime.network.client import MalformedAnswer, ServiceClient, ServiceRefused, ServiceUnavailable
from device_runtime.network.transfer import TransferStopped
from protocol.messages import MAX_MESSAGE_BYTES, CheckIn, ComeBack, Problem, encode_message

ENDLESS_BODY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
CHECK_IN = CheckIn(device_id="0" * 32, runtime="test", num_examples=3)
COME_BACK = ComeBack(reconnect_after_s=5.0, reason="no_task")


@pytest.fixture
def client(service):
    service.check_in_answer = COME_BACK
    with new_session() as session:
        yield ServiceClient(service.base_url, session)


def check_in(client):
    return client.check_in("tests", CHECK_IN)


def json(body, status=200, **headers):
    return Response(body, status, headers, content_type="application/json")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: Response("<p>hello</p>", content_type="text/html"), "of type application/json"),
        (lambda: json("{}"), "not a valid"),
        (lambda: json(b"\xff\xfe"), "not a valid"),
        (lambda: json('{"kind": "come_back", "reconnect_after_s": -1, "reason": "no_task"}'), "not a valid"),
        (lambda: json("[" * 10_000), "not a valid"),
        (lambda: json(" " * (MAX_MESSAGE_BYTES + 1)), "at most"),
        (lambda: json(gzip.compress(b"{}"), **{"Content-Encoding": "gzip"}), "compressed"),
        (lambda: Response("", 302, {"Location": "/elsewhere"}), "redirects are not followed"),
        (lambda: Response("", 304), "redirects are not followed"),
    ],
    ids=["html", "empty object", "not UTF-8", "negative", "deep", "oversize", "gzip", "redirect", "not modified"],
)
def test_malformed_answers_are_refused(client, service, answer, message):
    service.override = answer
    with pytest.raises(MalformedAnswer, match=message):
        check_in(client)
    assert len(service.requests) == 1


def test_endless_body_ends_at_the_cap():
    with answering(endless) as client:
        with pytest.raises(MalformedAnswer, match="at most"):
            check_in(client)
        assert client.bytes_down < 3 * MAX_MESSAGE_BYTES


def endless(connection):
    connection.recv(65536)
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")


@pytest.mark.parametrize("content", [ENDLESS_BODY, b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "header"])
def test_slow_answer_ends_at_its_deadline(monkeypatch, content):
    """Bytes keep dripping, so silence never lasts; in the headers too."""
    monkeypatch.setattr(exchange, "TRANSFER_TIMEOUT_S", 0.3)
    with answering(lambda connection: drip(connection, content)) as client:
        began = time.monotonic()
        with pytest.raises(ServiceUnavailable, match="complete within"):
            check_in(client)
        assert time.monotonic() - began < 8


def drip(connection, content):
    connection.recv(65536)
    with suppress(OSError):
        connection.sendall(content)
        while True:
            time.sleep(0.02)
            connection.sendall(b" ")


@contextmanager
def answering(handle):
    """A client of a service that handles one connection as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener, new_session() as session:
        listener.settimeout(10)

        def serve():
            connection, _ = listener.accept()
            with connection:
                handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield ServiceClient(f"http://127.0.0.1:{listener.getsockname()[1]}", session)
        thread.join()


def test_silence_times_out(client, service, monkeypatch):
    monkeypatch.setattr(exchange, "SILENCE_TIMEOUT_S", 0.1)
    release = threading.Event()
    service.override = lambda: release.wait(10) and None
    with pytest.raises(ServiceUnavailable):
        check_in(client)
    release.set()


def test_refusal_brings_its_problem(client, service):
    problem = Problem(type="about:blank", title="too late", status=409, detail="the round has closed")
    service.override = lambda: Response(encode_message(problem), 409, content_type="application/problem+json")
    with pytest.raises(ServiceRefused, match="status 409: 'too late'") as error:
        check_in(client)
    assert error.value.problem == problem


@pytest.mark.parametrize(
    "answer",
    [
        lambda: Response("<h1>No</h1>", 403, content_type="text/html"),
        lambda: Response("{", 403, content_type="application/problem+json"),
        lambda: Response(" " * 10**6, 403, content_type="application/problem+json"),
    ],
    ids=["html", "no JSON", "too long"],
)
def test_refusal_without_a_readable_problem_is_still_one(client, service, answer):
    service.override = answer
    with pytest.raises(ServiceRefused, match="no reason given") as error:
        check_in(client)
    assert error.value.problem is None


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_busy_service_is_unavailable(client, service, status):
    service.override = lambda: Response("", status)
    with pytest.raises(ServiceUnavailable, match=str(status)):
        check_in(client)


def test_service_that_is_down_is_unavailable():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with new_session() as session, pytest.raises(ServiceUnavailable):
            check_in(ServiceClient(address, session))


@pytest.mark.parametrize(
    ("status", "kind"), [(b"200 OK", b"json"), (b"202 ACCEPTED", b"json"), (b"403 FORBIDDEN", b"problem+json")]
)
def test_an_answer_that_is_cut_anywhere_is_unavailable(status, kind):
    """A network that breaks must never look like a service that refuses, which would cost the device its round."""
    body = encode_message(COME_BACK)
    head = b"HTTP/1.1 %s\r\nServer: x\r\nContent-Type: application/%s\r\nContent-Length: %d\r\nX-Last: 1\r\n\r\n"
    whole = head % (status, kind, len(body)) + body
    before_length, after_head = whole.index(b"Content-Length"), whole.index(b"\r\n\r\n") + 4
    for length in (
        0,
        5,
        12,
        20,
        before_length - 3,
        before_length,
        before_length + 14,
        *_in_body(status, whole, after_head),
    ):
        with answering(partial(answer_with, content=whole[:length])) as client, pytest.raises(ServiceUnavailable):
            check_in(client)


def _in_body(status, whole, after_head):
    """Cuts in the body; of 202 no body is read."""
    return () if status.startswith(b"202") else (after_head, len(whole) - 1)


def answer_with(connection, content):
    connection.recv(65536)
    connection.sendall(content)


def test_cut_off_body_is_unavailable():
    with answering(answer_half) as client, pytest.raises(ServiceUnavailable):
        check_in(client)


def answer_half(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")


def test_uploads_have_a_length_and_no_surprises(client, service):
    selected = service.offer({})
    seen = []
    service.override = lambda: seen.append(dict(request.headers))
    client.report(selected, b"x" * 100_000)
    assert seen[0]["Content-Length"] == "100000"
    assert "Transfer-Encoding" not in seen[0]
    assert service.reports == [b"x" * 100_000]
    assert client.bytes_up == 100_000


def stop_after(seconds):
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def test_an_upload_that_nobody_reads_stops_within_a_second(service):
    """The client is blocked in `send`: the body is far longer than what the system buffers."""
    received = []

    def read_a_little(connection):
        connection.recv(1000)
        time.sleep(0.6)  # meanwhile the client stops
        with suppress(OSError):
            while content := connection.recv(1 << 20):
                received.append(len(content))

    with answering(read_a_little) as client:
        client._should_stop = stop_after(0.2)
        began = time.monotonic()
        with pytest.raises(TransferStopped):
            client.report(service.offer({}), bytes(64 << 20))
        assert time.monotonic() - began < 4
        assert client.bytes_up < 32 << 20
    assert sum(received) < 32 << 20


def test_a_download_that_drips_stops_within_a_second():
    with answering(lambda connection: drip(connection, ENDLESS_BODY)) as client:
        client._should_stop = stop_after(0.2)
        began = time.monotonic()
        with pytest.raises(TransferStopped):
            check_in(client)
        assert time.monotonic() - began < 4


def test_after_a_stop_the_client_works_again(client, service):
    release = threading.Event()
    service.override = lambda: release.wait(10) and None
    client._should_stop = stop_after(0.1)
    with pytest.raises(TransferStopped):
        check_in(client)
    release.set()
    service.override = lambda: None
    client._should_stop = lambda: False
    assert check_in(client) == COME_BACK
