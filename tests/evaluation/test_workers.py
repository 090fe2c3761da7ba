"""Workers end when their block does, whatever they do just then."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from evaluation.workers import Workers

ROOT = Path(__file__).parents[2]


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


def test_they_end_when_whoever_made_them_is_killed():
    program = (
        "import os, time\n"
        "from evaluation.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    with Workers(1) as workers:\n"
        "        print(workers.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        worker = Path(f"/proc/{int(parent.stdout.readline())}")
        assert worker.exists()
        parent.kill()
    deadline = time.monotonic() + 60
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()
