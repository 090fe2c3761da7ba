"""The relay: what it lets through, what it cuts, and that exactly so much arrives; against a plain socket server."""

import itertools
import socket
import socketserver
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.soaking.faults import UNHARMED, Fate, Fault, draw_fates
from emulator.soaking.relay import Relay


class Peer(socketserver.ThreadingTCPServer):
    """Reads until the other side has ended, or `answers_after` bytes have come; then answers, and ends."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        self.heard, self.answer, self.answers_after = b"", b"", None
        self.done = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        peer, heard = self.server, b""
        while (peer.answers_after is None or len(heard) < peer.answers_after) and (chunk := self.request.recv(1 << 16)):
            heard += chunk
        peer.heard = heard
        with suppress(OSError):
            self.request.sendall(peer.answer)
        peer.done.set()


@pytest.fixture(scope="module")
def peer():
    with Peer() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def exchange(peer, fate, request, answer):
    """Sends `request` through a relay whose connections all meet `fate`; returns what came back and what was met."""
    peer.answer, peer.answers_after, peer.heard = answer, len(request), b""
    peer.done.clear()
    with Relay(peer.server_address[1], itertools.repeat(fate)) as relay:
        try:
            with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as device:
                device.sendall(request)
                received = b""
                while chunk := device.recv(1 << 16):
                    received += chunk
        except ConnectionError:
            received = None
        if fate.fault is not Fault.REFUSED:
            assert peer.done.wait(5)
        return received, dict(relay.met)


messages = st.binary(min_size=1, max_size=50_000)


@settings(max_examples=25)
@given(request=messages, answer=messages)
def test_what_is_not_harmed_arrives_whole(peer, request, answer):
    assert exchange(peer, UNHARMED, request, answer) == (answer, {})
    assert peer.heard == request


@settings(max_examples=30)
@given(request=messages, answer=messages, after=st.integers(0, 60_000))
def test_of_a_cut_answer_the_beginning_arrives_after_the_service_heard_everything(peer, request, answer, after):
    fate = Fate(fault=Fault.CUT_ANSWER, after_bytes=after)
    received, met = exchange(peer, fate, request, answer)
    assert received == answer[:after]
    assert peer.heard == request
    assert met == ({Fault.CUT_ANSWER: 1} if after < len(answer) else {})


@settings(max_examples=30)
@given(request=messages, after=st.integers(0, 60_000))
def test_of_a_cut_request_the_service_hears_the_beginning_and_then_the_end(peer, request, after):
    fate = Fate(fault=Fault.CUT_REQUEST, after_bytes=after)
    received, met = exchange(peer, fate, request, b"an answer")
    assert peer.heard == request[:after]
    is_cut = after < len(request)
    assert met == ({Fault.CUT_REQUEST: 1} if is_cut else {})
    assert received == b"an answer" if not is_cut else received in (b"", None)


def test_a_refused_connection_is_reset_and_the_service_hears_nothing(peer):
    received, met = exchange(peer, Fate(fault=Fault.REFUSED), b"a request", b"an answer")
    assert received is None
    assert met == {Fault.REFUSED: 1}
    assert peer.heard == b""


def test_a_slow_connection_loses_nothing(peer):
    received, met = exchange(peer, Fate(fault=Fault.SLOWED, pause_s=0.001), b"q" * 40_000, b"a" * 40_000)
    assert (received, peer.heard) == (b"a" * 40_000, b"q" * 40_000)
    assert met == {Fault.SLOWED: 1}


def test_where_nobody_listens_the_device_is_reset():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Relay(port, itertools.repeat(UNHARMED)) as relay:
        with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as device, pytest.raises(ConnectionError):
            device.recv(1)
        assert relay.met == {}


def test_it_ends_with_connections_open(peer):
    peer.answers_after = None
    with Relay(peer.server_address[1], itertools.repeat(UNHARMED)) as relay:
        device = socket.create_connection(("127.0.0.1", relay.port), timeout=5)
        device.sendall(b"x")
    with device, suppress(ConnectionError):
        assert device.recv(1) == b""
    assert not any(meeting.is_alive() for meeting in relay._meetings)


def test_fates_follow_the_seed_and_their_share():
    def first(seed, share):
        return list(itertools.islice(draw_fates(seed, share), 4000))

    assert first(3, 0.2) == first(3, 0.2) != first(4, 0.2)
    harmed = [fate.fault for fate in first(3, 0.2) if fate.fault is not None]
    assert 0.17 < len(harmed) / 4000 < 0.23
    assert all(150 < harmed.count(fault) < 250 for fault in Fault)
    assert {fate.fault for fate in first(3, 0.0)} == {None}
    short = [fate.after_bytes for fate in first(3, 1.0) if fate.fault is Fault.CUT_ANSWER]
    assert min(short) == 0
    assert sum(after < 300 for after in short) > len(short) / 3  # shorter than a receipt
