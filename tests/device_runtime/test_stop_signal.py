import os
import signal
import threading
import time

import pytest

from device_runtime.stop_signal import StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_sleep_at_once(number):
    with StopSignal() as stop:
        assert stop.wait(0.01) is False
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        began = time.monotonic()
        assert stop.wait(30) is True
        assert time.monotonic() - began < 10
        assert stop.is_set()
        assert stop.wait(30) is True


def test_what_was_before_comes_back():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("before"))
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set()
            os.kill(os.getpid(), signal.SIGTERM)  # the second one is not ours any more
            assert seen == ["before"]
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["before", "before"]
    finally:
        signal.signal(signal.SIGTERM, before)
