"""Whatever bytes a service answers with: a message of the protocol, or one of the client's own errors. Never more."""

import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.environment import new_session
from device_runtime.network.client import MalformedAnswer, ServiceClient, ServiceRefused, ServiceUnavailable
from protocol.manifest import FileEntry, SignedManifest
from protocol.messages import CheckIn, ComeBack, Receipt, Selected, encode_message

ERRORS = (MalformedAnswer, ServiceRefused, ServiceUnavailable)
CONTENT = b"the content"
SECRET = "zanzibar"  # what a service may echo in order to see it in a log
CHECK_IN = CheckIn(device_id="0" * 32, runtime="test", num_examples=3)
SELECTED = Selected(
    round_id="0" * 32,
    assignment_id="1" * 32,
    assignment_token="2" * 64,
    report_within_s=60.0,
    manifest=SignedManifest(manifest=b"{}", signature=bytes(64)),
)
GOOD = [
    encode_message(SELECTED),
    encode_message(ComeBack(reconnect_after_s=5.0, reason="no_task")),
    encode_message(Receipt(assignment_id="1" * 32, reconnect_after_s=5.0)),
    encode_message(SELECTED.manifest),
    CONTENT,
]


class RawService:
    """Answers every request with `answer`, byte for byte, and hangs up."""

    def __init__(self):
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                read_request(connection)
                connection.sendall(self.answer)


def read_request(connection):
    """All of it: to hang up on unread bytes would reset the connection and lose the answer."""
    with connection.makefile("rb") as request:
        headers = iter(request.readline, b"\r\n")
        lengths = [int(line.split(b":")[1]) for line in headers if line.lower().startswith(b"content-length:")]
        request.read(sum(lengths))


@pytest.fixture(scope="module")
def raw():
    service = RawService()
    yield service
    service.close()


@pytest.fixture(scope="module")
def client(raw):
    with new_session() as session:
        yield ServiceClient(raw.url, session)


CALLS = {
    "check_in": lambda client: client.check_in("tests", CHECK_IN),
    "report": lambda client: client.report(SELECTED, b"an update"),
    "fetch_release": lambda client: client.fetch_release("tests"),
    "fetch_file": lambda client: client.fetch_file(FileEntry.of(CONTENT)),
}

statuses = st.sampled_from([b"100", b"200", b"204", b"206", b"301", b"302", b"308", b"404", b"409", b"429", b"503"])
header_lines = st.lists(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"Content-Type: application/problem+json; charset=utf-7",
            b"Content-Type: \xff\xfe",
            b"Content-Encoding: gzip",
            b"Content-Encoding: identity",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: moonlight",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Content-Length: 1e9",
            b"Content-Length: 99999999999999999999",
            b"Location: http://127.0.0.1:1/" + SECRET.encode(),
            b"Location: file:///etc/passwd",
            b"Set-Cookie: a=b; Max-Age=zz",
            b"Connection: keep-alive",
            b"Retry-After: \x00",
            b"no colon at all",
            b"",
        ]
    )
    | st.binary(max_size=30),
    max_size=5,
)
bodies = (
    st.sampled_from(GOOD)
    | st.tuples(st.sampled_from(GOOD), st.integers(0, 60)).map(lambda cut: cut[0][: cut[1]])  # truncated
    | st.tuples(st.sampled_from(GOOD), st.integers(0, 200), st.binary(max_size=4)).map(
        lambda change: change[0][: change[1]] + change[2] + change[0][change[1] + len(change[2]) :]
    )
    | st.binary(max_size=300)
    | st.sampled_from([b"[" * 5_000, b"null", b"1e999", SECRET.encode(), b'{"title": "' + SECRET.encode() + b'"}'])
    | st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"FFFFFFFFFFFFFFFFFF\r\nx", b"-5\r\n"])  # chunks
)


def http(status, headers, body):
    return b"HTTP/1.1 " + status + b" " + SECRET.encode() + b"\r\n" + b"\r\n".join([*headers, b"", b""]) + body


answers = st.builds(http, statuses, header_lines, bodies) | st.binary(max_size=300)


@settings(deadline=None)
@given(answer=answers, call=st.sampled_from(sorted(CALLS)))
def test_any_answer_is_a_message_or_an_error_of_ours(raw, client, answer, call):
    raw.answer = answer
    try:
        message = CALLS[call](client)
    except ERRORS as error:
        told = str(error)
        message = None
    else:
        told = ""
    assert isinstance(message, Selected | ComeBack | Receipt | SignedManifest | bytes | None)
    assert "\n" not in told
    assert len(told) < 300
    assert message != b"" or call != "fetch_file"


@settings(deadline=None)
@given(cut=st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file_is_never_taken(raw, client, cut):
    raw.answer = http(b"200", [b"Content-Type: application/octet-stream"], CONTENT[:cut])
    with pytest.raises(ERRORS):
        CALLS["fetch_file"](client)


def test_the_fuzz_finds_the_good_answers_too(raw):
    for call, body in zip(("check_in", "check_in", "report", "fetch_release", "fetch_file"), GOOD, strict=True):
        raw.answer = http(b"200", [b"Content-Type: application/json", b"Content-Length: %d" % len(body)], body)
        with new_session() as session:  # of its own: the service hangs up on what a session would keep open
            assert CALLS[call](ServiceClient(raw.url, session)) is not None


def test_a_redirect_is_not_followed_and_its_target_not_told(raw, client):
    raw.answer = http(b"302", [b"Location: http://127.0.0.1:1/" + SECRET.encode(), b"Content-Length: 0"], b"")
    with pytest.raises(MalformedAnswer) as error:
        CALLS["check_in"](client)
    assert SECRET not in str(error.value)
