"""Workers end when their block does, whatever they do just then."""

import multiprocessing
import os
import signal
import time

from emulator.workers import Workers


def test_work_is_done_elsewhere():
    with Workers(1) as workers:
        assert workers.submit(os.getpid).result() != os.getpid()


def test_they_end_within_two_seconds_though_they_compute_and_know_no_interrupt():
    before = set(multiprocessing.active_children())
    with Workers(1) as workers:
        number = workers.submit(os.getpid).result()
        workers.submit(time.sleep, 60)
        time.sleep(0.1)
        os.kill(number, signal.SIGINT)
        time.sleep(0.1)
        assert set(multiprocessing.active_children()) - before
        began = time.monotonic()
    assert time.monotonic() - began < 4
    assert not set(multiprocessing.active_children()) - before
