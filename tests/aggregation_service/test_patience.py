"""Sockets whose patience ends: over real socket pairs."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from aggregation_service.patience import Patience, PatientSocket, TooSlow

PATIENCE_S = 0.4


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One place among the slow, 0.1 s before it is needed, 0.4 s of patience, 1000 bytes a second."""
    before = Patience.patience_s, Patience._bytes_per_s, Patience._places
    monkeypatch.setattr("aggregation_service.patience._QUICK_S", 0.1)
    Patience.configure(patience_s=PATIENCE_S, bytes_per_s=1000, num_threads=2)
    yield
    Patience.configure(patience_s=before[0], bytes_per_s=before[1], num_threads=8)


@pytest.fixture
def pair() -> Iterator[tuple[PatientSocket, socket.socket]]:
    left, right = socket.socketpair()
    patient = PatientSocket(fileno=left.detach())
    patient.renew()
    with patient, right:
        yield patient, right


def test_what_is_there_comes_at_once(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, other = pair
    other.sendall(b"abc")
    assert patient.recv(10) == b"abc"
    other.close()
    assert patient.recv(10) == b""


def test_silence_ends_after_the_patience(pair: tuple[PatientSocket, socket.socket]) -> None:
    began = time.monotonic()
    with pytest.raises(TooSlow):
        pair[0].recv(1)
    assert PATIENCE_S * 0.9 < time.monotonic() - began < PATIENCE_S + 2


def test_each_byte_buys_its_time(pair: tuple[PatientSocket, socket.socket]) -> None:
    """200 bytes every 0.1 s are twice the slowest rate: more than the patience may pass."""
    patient, other = pair

    def send() -> None:
        for _ in range(8):
            time.sleep(0.1)
            other.sendall(b"x" * 200)
        other.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    received = 0
    while chunk := patient.recv(1000):
        received += len(chunk)
    thread.join()
    assert received == 1600


def read_for_ever(patient: PatientSocket) -> None:
    while True:
        patient.recv(10)


def test_a_drip_is_no_more_patiently_waited_for_than_silence(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, other = pair
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            other.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        began = time.monotonic()
        with pytest.raises(TooSlow):
            read_for_ever(patient)
        assert time.monotonic() - began < PATIENCE_S + 2
    finally:
        stop.set()
        thread.join()


def test_only_so_many_wait_for_the_slow(pair: tuple[PatientSocket, socket.socket]) -> None:
    assert Patience._places.acquire(blocking=False), "another socket has the only place"
    began = time.monotonic()
    with pytest.raises(TooSlow):
        pair[0].recv(1)
    assert time.monotonic() - began < PATIENCE_S
    Patience._places.release()


def test_places_are_given_back(pair: tuple[PatientSocket, socket.socket]) -> None:
    for _ in range(3):
        pair[0].renew()
        with pytest.raises(TooSlow):
            pair[0].recv(1)
    assert Patience._places.acquire(blocking=False)
    Patience._places.release()


def test_a_reader_that_sleeps_is_given_up(pair: tuple[PatientSocket, socket.socket]) -> None:
    with pytest.raises(TooSlow):
        pair[0].sendall(bytes(50_000_000))


def test_sending_sends_all(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, other = pair
    content = bytes(range(256)) * 8192
    received = bytearray()

    def read() -> None:
        while chunk := other.recv(65536):
            received.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    patient.sendall(memoryview(content))
    patient.shutdown(socket.SHUT_WR)
    thread.join()
    assert received == content


def test_in_a_hurry_only_what_has_come_is_received(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, other = pair
    other.sendall(b"abc")
    patient.hurry()
    assert patient.recv(10) == b"abc"
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(TooSlow):
            patient.recv(10)
    assert time.monotonic() - began < PATIENCE_S * 5
    patient.renew()
    other.sendall(b"abc")
    assert patient.recv(10) == b"abc"


def test_a_steady_drip_does_not_prolong_a_hurry(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, other = pair
    other.sendall(b"x" * 10_000)
    patient.hurry()

    def receive() -> None:
        for _ in range(10_000):
            patient.recv(1)
            time.sleep(0.0005)

    with pytest.raises(TooSlow):
        receive()


def test_the_worker_is_told_of_a_connections_last_request(pair: tuple[PatientSocket, socket.socket]) -> None:
    told: list[str] = []
    pair[0].close_after_answer()  # of no request
    pair[0].on_close(lambda: told.append("end"))
    pair[0].close_after_answer()
    pair[0].renew()
    pair[0].close_after_answer()
    assert told == ["end"]
