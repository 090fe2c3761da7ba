import threading
import time

import pytest

from device_runtime.network.transfer import UPLOAD_CHUNK_BYTES, Body, Transfer, TransferStopped, TransferTimeout


def never():
    return False


def test_a_call_gives_its_result_from_another_thread():
    threads = []
    result = Transfer(lambda _: threads.append(threading.current_thread()) or 7, lambda: None).wait(never, 5)
    assert result == 7
    assert threads != [threading.current_thread()]


def test_a_calls_error_is_raised_where_it_is_waited_for():
    def call(_):
        raise KeyError("x")

    with pytest.raises(KeyError):
        Transfer(call, lambda: None).wait(never, 5)


@pytest.mark.parametrize(
    ("should_stop", "timeout_s", "error"), [(lambda: True, 5, TransferStopped), (never, 0.0, TransferTimeout)]
)
def test_a_call_that_hangs_is_broken_off(should_stop, timeout_s, error):
    broken = threading.Event()
    ended = []

    def call(transfer):
        broken.wait(10)
        try:
            transfer.check()
        except TransferStopped:
            ended.append(True)

    began = time.monotonic()
    with pytest.raises(error):
        Transfer(call, broken.set).wait(should_stop, timeout_s)
    assert time.monotonic() - began < 4
    assert ended == [True]


def test_a_call_that_ignores_everything_is_left_behind():
    release = threading.Event()
    began = time.monotonic()
    with pytest.raises(TransferStopped):
        Transfer(lambda _: release.wait(10), lambda: None).wait(lambda: True, 5)
    assert time.monotonic() - began < 4
    release.set()


def test_a_quick_call_is_not_asked_about():
    assert Transfer(lambda _: 1, lambda: None).wait(lambda: pytest.fail("asked"), 5) == 1


@pytest.mark.parametrize("size", [0, 1, UPLOAD_CHUNK_BYTES, 3 * UPLOAD_CHUNK_BYTES + 5])
def test_a_body_in_pieces_is_the_body(size):
    told = []
    body = Body(bytes(range(256)) * (size // 256) + bytes(size % 256), told.append)
    assert len(body) == size
    assert len(b"".join(body)) == size
    assert sum(told) == size
    assert max(told, default=0) <= UPLOAD_CHUNK_BYTES
    assert list(body) == list(body)  # requests may iterate again, for a new connection
