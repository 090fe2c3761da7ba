"""What a device signs: the service's side of the protocol reads it, and its clock is corrected, for signing only."""

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Response, request

from device_runtime.environment import new_session
from device_runtime.network.client import ServiceClient, ServiceRefused
from device_runtime.network.identity import IDENTITY_KEY_FILE, RequestSigner, load_identity_key
from protocol.errors import WrongSignature
from protocol.manifest import FileEntry
from protocol.messages import CheckIn, Problem, encode_message
from protocol.signed_requests import (
    MAX_CLOCK_SKEW_S,
    SIGNATURE_HEADER,
    TIME_HEADER,
    read_signature,
    sha256_hex,
    verify_request,
)

DEVICE = "ab" * 16
CHECK_IN = CheckIn(device_id=DEVICE, runtime="test", num_examples=5)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SERVICE = Ed25519PrivateKey.generate().public_key()


@pytest.fixture
def client(service):
    with new_session() as session:
        yield ServiceClient(service.base_url, session)


@pytest.fixture
def signed(service):
    """The verified signatures of what the service was sent; it notes None for a request without one."""
    seen = []

    def look():
        if SIGNATURE_HEADER not in request.headers:
            seen.append(None)
            return
        signature = read_signature(dict(request.headers))
        verify_request(signature, KEY.public_key(), service=SERVICE, method=request.method, path=request.path)
        assert signature.body_sha256 == sha256_hex(request.get_data())
        seen.append(signature)

    service.override = look
    return seen


def test_check_ins_and_reports_are_signed_and_files_are_not(client, service, round_files, signed, clock):
    selected = service.offer(round_files)
    client.signer = RequestSigner(KEY, DEVICE, clock, SERVICE)
    assert client.check_in("tests", CHECK_IN) == selected
    client.report(selected, b"an update")
    client.fetch_file(FileEntry.of(round_files["plan"]))  # public, and perhaps from a cache
    assert [signature and signature.device_id for signature in signed] == [DEVICE, DEVICE, None]
    assert signed[0].at == int(clock.now)
    assert signed[0].nonce != signed[1].nonce


def test_a_client_without_signer_signs_nothing(client, service, round_files, signed):
    service.offer(round_files)
    client.check_in("tests", CHECK_IN)
    assert signed == [None]


def refuse_wrong_clocks(service, now, times):
    """Lets the service refuse as the real one does."""

    def look():
        signature = read_signature(dict(request.headers))
        times.append(signature.at)
        if abs(signature.at - now) <= MAX_CLOCK_SKEW_S:
            return None
        problem = Problem(type="urn:keychorus:problem:clock_skew", title="clock skew", status=403, detail="")
        headers = {TIME_HEADER: str(now)}
        return Response(encode_message(problem), 403, headers, content_type="application/problem+json")

    service.override = look


@pytest.mark.parametrize("days", [-1.0, 1.0, 3000.0, -10_000.0])
def test_a_clock_that_is_off_is_corrected_once_and_for_the_next_requests(client, service, round_files, clock, days):
    times = []
    now = int(clock.now - days * 86_400)
    refuse_wrong_clocks(service, now, times)
    selected = service.offer(round_files)
    client.signer = RequestSigner(KEY, DEVICE, clock, SERVICE)
    before = clock.now
    assert client.check_in("tests", CHECK_IN) == selected
    client.report(selected, b"an update")
    assert len(times) == 3
    assert all(abs(at - now) <= 1 for at in times[1:])
    assert clock.now == before


def test_a_service_that_likes_no_time_is_asked_twice_only(client, service, clock):
    problem = Problem(type="urn:keychorus:problem:clock_skew", title="clock skew", status=403, detail="")
    headers = {TIME_HEADER: "5"}
    service.override = lambda: Response(encode_message(problem), 403, headers, content_type="application/problem+json")
    client.signer = RequestSigner(KEY, DEVICE, clock, SERVICE)
    with pytest.raises(ServiceRefused) as caught:
        client.check_in("tests", CHECK_IN)
    assert caught.value.kind == "clock_skew"
    assert len(service.requests) == 2


@pytest.mark.parametrize("told", ["", "-5", "soon", "1.5", "9" * 500])
def test_a_time_that_is_none_is_not_followed(client, service, clock, told):
    problem = Problem(type="urn:keychorus:problem:clock_skew", title="clock skew", status=403, detail="")
    service.override = lambda: Response(
        encode_message(problem), 403, {TIME_HEADER: told}, content_type="application/problem+json"
    )
    client.signer = RequestSigner(KEY, DEVICE, clock, SERVICE)
    with pytest.raises(ServiceRefused):
        client.check_in("tests", CHECK_IN)
    assert len(service.requests) == 1


def test_another_refusal_moves_no_clock(client, service, clock):
    problem = Problem(type="urn:keychorus:problem:unknown_device", title="unknown device", status=403, detail="")
    headers = {TIME_HEADER: "5"}
    service.override = lambda: Response(encode_message(problem), 403, headers, content_type="application/problem+json")
    client.signer = RequestSigner(KEY, DEVICE, clock, SERVICE)
    with pytest.raises(ServiceRefused):
        client.check_in("tests", CHECK_IN)
    assert len(service.requests) == 1


def test_the_key_stays_the_same_and_is_its_owners_only(tmp_path, clock):
    first = RequestSigner(load_identity_key(tmp_path / "english"), DEVICE, clock, SERVICE)
    again = RequestSigner(load_identity_key(tmp_path / "english"), DEVICE, clock, SERVICE)
    other = RequestSigner(load_identity_key(tmp_path / "german"), DEVICE, clock, SERVICE)
    assert first.public_key == again.public_key != other.public_key
    assert stat.S_IMODE((tmp_path / "english" / IDENTITY_KEY_FILE).stat().st_mode) == 0o600


def test_a_signature_is_of_this_key_and_for_this_service(clock):
    headers = RequestSigner(KEY, DEVICE, clock, SERVICE).sign("GET", "/v1/x", b"")
    signature, other = read_signature(headers), Ed25519PrivateKey.generate().public_key()
    verify_request(signature, KEY.public_key(), service=SERVICE, method="GET", path="/v1/x")
    for key, service in ((other, SERVICE), (KEY.public_key(), other)):
        with pytest.raises(WrongSignature):
            verify_request(signature, key, service=service, method="GET", path="/v1/x")
