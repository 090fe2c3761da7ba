"""The service of a rehearsal really runs, and its end is noticed."""

import os
import signal
import socket
import time

import pytest
import requests

from aggregation_service import operations
from emulator.service_process import ServiceStopped, running_service


@pytest.fixture
def config_path(tmp_path):
    return operations.initialise(tmp_path / "service").config_path


def test_it_answers_until_the_block_ends(config_path, tmp_path):
    with running_service(config_path, tmp_path / "log") as service:
        assert requests.get(f"{service.url}/health", timeout=5).ok
        service.require_alive()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{service.url}/health", timeout=5)


def test_once_it_has_crashed_every_connection_is_refused(config_path, tmp_path):
    with running_service(config_path, tmp_path / "log") as service:
        port = int(service.url.rpartition(":")[2])
        service.crash()
        for _ in range(50):
            with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
                probe.connect(("127.0.0.1", port))


def test_its_death_is_noticed_and_its_last_words_are_told(config_path, tmp_path):
    with running_service(config_path, tmp_path / "log") as service:
        os.kill(service._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while service._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(ServiceStopped, match="its log ends") as caught:
            service.require_alive()
    assert "gunicorn" in str(caught.value)


def test_a_service_that_cannot_start_says_why(tmp_path):
    with (
        pytest.raises(ServiceStopped, match="configuration"),
        running_service(tmp_path / "missing.toml", tmp_path / "log"),
    ):
        pass
