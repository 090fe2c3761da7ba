import threading
import time

import pytest
from flask import Response, request

from device_runtime.environment import new_session
from device_runtime.network.client import (
    MAX_GROUP_MESSAGE_BYTES,
    RETRY_AFTER_S,
    MalformedAnswer,
    NotYet,
    ServiceClient,
    ServiceRefused,
    ServiceUnavailable,
)
from device_runtime.network.file_cache import FileCache
from device_runtime.network.transfer import TransferStopped
from protocol.manifest import FileEntry
from protocol.messages import CheckIn, ComeBack, Problem, Receipt, encode_message
from protocol.routes import secure_aggregation
from protocol.secure_aggregation.inputs import SECURE_MEDIA_TYPE
from protocol.update import UPDATE_MEDIA_TYPE

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


def test_check_in_and_report_are_sent_as_the_protocol_says(client, service):
    assert check_in(client) == COME_BACK
    assert service.bodies == [encode_message(CHECK_IN)]
    selected = service.offer({})
    assert check_in(client) == selected
    receipt = client.report(selected, b"an update")
    assert receipt.assignment_id == selected.assignment_id
    assert service.reports == [b"an update"]


def test_report_carries_its_token_and_type(client, service):
    selected = service.offer({})
    seen = []
    service.override = lambda: seen.append(dict(request.headers))
    client.report(selected, b"an update")
    assert seen[0]["Authorization"] == f"Bearer {selected.assignment_token}"
    assert seen[0]["Content-Type"] == UPDATE_MEDIA_TYPE


def test_bytes_are_counted(client, service):
    check_in(client)
    assert client.bytes_up == len(encode_message(CHECK_IN))
    assert client.bytes_down == len(encode_message(COME_BACK))
    service.files[FileEntry.of(b"x" * 1000).sha256] = b"x" * 1000
    client.fetch_file(FileEntry.of(b"x" * 1000))
    assert client.bytes_down == len(encode_message(COME_BACK)) + 1000


def test_release_manifest_is_fetched(client, service):
    signed = service.offer({}).manifest
    service.override = lambda: json(encode_message(signed))
    assert client.fetch_release("tests") == signed


@pytest.mark.parametrize(
    "content", [b"longer than it should be", b"sh", b"c0ntent"], ids=["longer", "shorter", "other"]
)
def test_wrong_file_is_refused(client, service, content):
    entry = FileEntry.of(b"content")
    service.files[entry.sha256] = content
    with pytest.raises(MalformedAnswer):
        client.fetch_file(entry)


FILE = bytes(range(256)) * 4000  # of 16 chunks


def cut_short(num_bytes):
    """As the service answers, but the connection ends before the file does."""

    def answer():
        begin = request.range.ranges[0][0] if request.range else 0
        status, headers = (206, {"Content-Range": f"bytes {begin}-{len(FILE) - 1}/{len(FILE)}"}) if begin else (200, {})
        headers |= {"Content-Length": str(len(FILE) - begin)}
        sent = iter([FILE[begin : begin + num_bytes]])  # of an iterator no length is told but what we tell
        return Response(sent, status, headers, content_type="application/octet-stream")

    return answer


@pytest.fixture
def cache(tmp_path):
    return FileCache(tmp_path / "cache")


def test_an_interrupted_download_goes_on_where_it_ended(client, service, cache):
    entry, asked = FileEntry.of(FILE), []
    service.files[entry.sha256] = FILE
    for _ in range(2):
        service.override = lambda: asked.append(request.headers.get("Range")) or cut_short(300_000)()
        with pytest.raises(ServiceUnavailable):
            client.fetch_file(entry, cache)
    begun = len(cache.get_beginning(entry))
    assert 400_000 < begun <= 600_000
    service.override = lambda: asked.append(request.headers.get("Range"))
    assert client.fetch_file(entry, cache) == FILE
    assert asked[0] is None
    assert asked[2] == f"bytes={begun}-"
    assert client.bytes_down == len(FILE), "nothing came twice"
    assert cache.get_beginning(entry) == b""


def test_a_stopped_download_goes_on_as_well(service, cache):
    entry, stopped = FileEntry.of(FILE), threading.Event()
    service.files[entry.sha256] = FILE

    def dripping():
        def drip():
            yield FILE[:500_000]
            stopped.set()
            time.sleep(1)

        return Response(drip(), headers={"Content-Length": str(len(FILE))}, content_type="application/octet-stream")

    service.override = dripping
    with new_session() as session:
        client = ServiceClient(service.base_url, session, stopped.is_set)
        with pytest.raises(TransferStopped):
            client.fetch_file(entry, cache)
        stopped.clear()
        begun = len(cache.get_beginning(entry))
        assert begun > 100_000
        service.override = lambda: None
        assert client.fetch_file(entry, cache) == FILE
        assert client.bytes_down == len(FILE)


def test_a_service_that_knows_no_ranges_sends_the_whole_file_again(client, service, cache):
    entry = FileEntry.of(FILE)
    cache.put_beginning(entry, FILE[:100])
    service.override = lambda: Response(FILE, content_type="application/octet-stream")
    assert client.fetch_file(entry, cache) == FILE


@pytest.mark.parametrize(
    "answer",
    [
        lambda: Response(FILE[100:], 206, content_type="application/octet-stream"),
        lambda: Response(FILE, 206, content_type="application/octet-stream"),
        lambda: Response("", 416),
    ],
    ids=["a damaged beginning", "another range", "none at all"],
)
def test_a_beginning_that_leads_nowhere_is_forgotten(client, service, cache, answer):
    entry = FileEntry.of(FILE)
    cache.put_beginning(entry, bytes(100))
    service.override = answer
    with pytest.raises((MalformedAnswer, ServiceRefused)):
        client.fetch_file(entry, cache)
    assert cache.get_beginning(entry) == b""


def of_group(body=b"told", status=200, **headers):
    return lambda: Response(body, status, {"Content-Type": SECURE_MEDIA_TYPE, **headers})


def test_messages_of_a_group_are_sent_as_the_protocol_says(client, service):
    selected, seen = service.offer({}), []
    service.override = lambda: seen.append((request.method, request.path, dict(request.headers))) or Response("", 204)
    assert client.tell_group(selected, "shares", b"sealed") == 0.0
    assert service.bodies == [b"sealed"]
    service.override = lambda: seen.append((request.method, request.path, dict(request.headers))) or of_group()()
    assert client.ask_group(selected, "roster") == b"told"
    paths = [secure_aggregation(selected.round_id, selected.assignment_id, name) for name in ("shares", "roster")]
    assert [(method, path) for method, path, _ in seen] == [("PUT", paths[0]), ("GET", paths[1])]
    for *_, headers in seen:
        assert headers["Authorization"] == f"Bearer {selected.assignment_token}"
        assert headers["Content-Type"] == SECURE_MEDIA_TYPE
    assert (client.bytes_up, client.bytes_down) == (len(b"sealed"), len(b"told"))


@pytest.mark.parametrize(
    ("told", "expected"),
    [("3", 3.0), ("0", 0.0), ("", RETRY_AFTER_S), ("-3", RETRY_AFTER_S), ("1e9", RETRY_AFTER_S), ("²", RETRY_AFTER_S)],
)
def test_a_group_that_is_not_there_yet_says_when_it_will_be(client, service, told, expected):
    service.override = of_group(b"", 202, **{"Retry-After": told.encode().decode("latin-1")})
    assert client.ask_group(service.offer({}), "roster") == NotYet(expected)


@pytest.mark.parametrize(
    ("told", "expected"),
    [("3", 3.0), ("0", 0.0), (None, 0.0), ("-3", 0.0), ("1e9", 0.0), ("9" * 7, 0.0), ("inf", 0.0), ("²", 0.0)],
)
def test_an_acknowledgement_says_when_to_ask_again(client, service, told, expected):
    headers = {} if told is None else {"Retry-After": told.encode().decode("latin-1")}
    service.override = lambda: Response("", 204, headers)
    assert client.tell_group(service.offer({}), "keys", b"keys") == expected


def test_only_a_group_may_say_not_yet(client, service):
    service.override = lambda: json(encode_message(COME_BACK), 202)
    with pytest.raises(MalformedAnswer, match="202"):
        check_in(client)
    with pytest.raises(MalformedAnswer, match="202"):
        client.tell_group(service.offer({}), "keys", b"keys")


@pytest.mark.parametrize(
    "answer",
    [of_group(bytes(MAX_GROUP_MESSAGE_BYTES + 1)), lambda: json(b"{}"), of_group(b"x", 302)],
    ids=["endless", "another type", "elsewhere"],
)
def test_what_no_group_says_is_malformed(client, service, answer):
    service.override = answer
    with pytest.raises(MalformedAnswer):
        client.ask_group(service.offer({}), "roster")


def test_nothing_is_said_to_a_message_of_a_group(client, service):
    service.override = of_group(b"x")
    with pytest.raises(MalformedAnswer):
        client.tell_group(service.offer({}), "keys", b"keys")


def test_a_group_that_has_ended_is_a_refusal_of_that_kind(client, service):
    problem = Problem(type="urn:keychorus:problem:group_ended", title="The group has ended.", status=410, detail="")
    service.override = lambda: Response(encode_message(problem), 410, content_type="application/problem+json")
    with pytest.raises(ServiceRefused) as refusal:
        client.ask_group(service.offer({}), "roster")
    assert refusal.value.kind == "group_ended"


def test_a_receipt_must_name_the_assignment(client, service):
    selected = service.offer({})
    service.override = lambda: json(encode_message(Receipt(assignment_id="f" * 32, reconnect_after_s=1.0)))
    for send in (client.report, client.report_to_group):
        with pytest.raises(MalformedAnswer, match="assignment"):
            send(selected, b"last")
