"""Rate limits that all workers of all hosts count together, in a real Redis."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from aggregation_service.app import create_app

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A server of the test's own, which keeps nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, "redis-server must answer within 10 s"
        time.sleep(0.02)


@pytest.fixture
def workers(rehearsal: Any, redis_url: str) -> Iterator[list[Flask]]:
    """Two of a service's processes, as far as counting goes: they share nothing but the database and Redis."""
    config = replace(
        rehearsal.config,
        clock_path=None,
        address_rate_limit="5/minute",
        login_rate_limit="2/minute",
        rate_limit_storage=redis_url,
    )
    apps = [create_app(config) for _ in range(2)]
    yield apps
    for app in apps:
        app.extensions["keychorus"].close()


def test_workers_count_an_address_together(workers: list[Flask]) -> None:
    clients = [worker.test_client() for worker in workers]
    assert [clients[turn % 2].get("/v1/files/x").status_code for turn in range(7)] == [404] * 5 + [429] * 2


def test_workers_count_failed_logins_together(workers: list[Flask]) -> None:
    clients = [worker.test_client() for worker in workers]
    answers = [clients[turn % 2].get("/v1/admin/populations", auth=("ada", "wrong")).status_code for turn in range(4)]
    assert answers == [401, 401, 429, 429]
