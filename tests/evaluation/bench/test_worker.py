import multiprocessing
import os
from multiprocessing.connection import Connection

import pytest

from evaluation.bench.worker import memory_bytes, worker


def tell(connection: Connection, name: str) -> None:
    connection.send(os.environ.get(name))


def test_a_worker_has_one_thread_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with worker(tell, "OPENBLAS_NUM_THREADS") as connection:
        assert connection.recv() == "1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert not multiprocessing.active_children()


def test_variables_of_the_caller_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with worker(tell, "OMP_NUM_THREADS") as connection:
        assert connection.recv() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_memory_peaks_at_least_at_what_it_is_now() -> None:
    block = bytearray(b"x" * 30_000_000)
    assert memory_bytes("VmHWM") >= memory_bytes("VmRSS") > len(block)
