"""An outage of the database, whatever it meets: healthy workers, one that boots, a start. A real server is stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from gunicorn_service import GunicornService, gunicorn_service
from postgres import PostgresServer, postgres_server
from sqlalchemy.exc import OperationalError

from aggregation_service import operations
from aggregation_service.app import create_app
from aggregation_service.config import CONFIG_VARIABLE, ServiceConfig, load_config
from aggregation_service.operations import setup
from aggregation_service.service import Service
from aggregation_service.storage.database import OutdatedDatabase
from protocol import routes

POPULATION = "en-gb"
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that is stopped, so nobody else's."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def outage(server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that runs again after the test, whatever the test did."""
    yield server
    server.server.ensure_postgres_running()


@pytest.fixture
def config(outage: PostgresServer, tmp_path: Path) -> ServiceConfig:
    paths = operations.initialise(tmp_path / "service", database_url=outage.create_database())
    config = load_config(paths.config_path)
    operations.add_population(config, POPULATION)
    return config


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(server: PostgresServer) -> None:
    server.server.stop()


def start(server: PostgresServer) -> None:
    server.server.ensure_postgres_running()


def until(holds: Callable[[], bool], service_log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if holds():
                return
        time.sleep(0.05)
    raise AssertionError(service_log.read_text()[-4000:])


def get(service: GunicornService, path: str) -> tuple[int, bytes]:
    answer = service.exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return int(answer.split()[1]), answer


def each_alone(service: GunicornService) -> Iterator[int]:
    """The workers, each while the others stand still, so that it alone answers."""
    workers = [psutil.Process(pid) for pid in service.worker_pids()]
    for worker in workers:
        others = [other for other in workers if other != worker]
        for other in others:
            other.suspend()
        try:
            yield worker.pid
        finally:
            for other in others:
                other.resume()


def test_workers_outlive_an_outage_also_those_that_boot_in_it(
    config: ServiceConfig, outage: PostgresServer, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with gunicorn_service(tmp_path / "service" / "service.toml", log, workers=2) as service:
        killed, survivor = service.worker_pids()
        until(lambda: log.read_text().count("Booting worker") == 2, log)
        until(lambda: get(service, "/ready")[0] == 200, log)
        stop(outage)
        os.kill(killed, signal.SIGKILL)
        until(lambda: "database_unreachable" in log.read_text(), log)
        until(lambda: killed not in service.worker_pids() and len(service.worker_pids()) == 2, log)
        workers = service.worker_pids()
        assert survivor in workers
        for _ in each_alone(service):
            assert get(service, "/health")[0] == 200
            assert get(service, "/ready")[0] == 503
            status, answer = get(service, routes.release(POPULATION))
            assert status == 503
            assert b"\r\nRetry-After: 5\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:keychorus:problem:unavailable"
        start(outage)
        for _ in each_alone(service):
            until(lambda: get(service, "/ready")[0] == 200, log)
            assert get(service, routes.release(POPULATION))[0] == 404, "no release: the database says so"
        assert service.worker_pids() == workers, "nobody had to be started again"


def test_run_waits_for_the_database(config: ServiceConfig, outage: PostgresServer, tmp_path: Path) -> None:
    """The whole command, as systemd starts it, in an outage that is there first."""
    stop(outage)
    log, port = tmp_path / "log", free_port()
    command = [
        str(Path(sys.executable).with_name("keychorus")),
        "service",
        "run",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    environment = {**os.environ, CONFIG_VARIABLE: str(tmp_path / "service" / "service.toml")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        until(lambda: log.read_text().count("database_unreachable") >= 2, log)
        assert process.poll() is None
        start(outage)
        service = GunicornService(port, process.pid, log)
        until(lambda: get(service, "/ready")[0] == 200, log)
    finally:
        process.terminate()
        process.wait(15)


def test_pauses_grow_and_what_waiting_does_not_mend_is_told(
    config: ServiceConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away = OperationalError("SELECT", {}, OSError("connection refused\n\tIs the server running?"))
    outcomes: list[Exception] = [*[away] * 7, OutdatedDatabase("rows would be left")]
    pauses: list[float] = []

    def migrate(_config: ServiceConfig) -> None:
        raise outcomes.pop(0)

    monkeypatch.setattr(setup, "migrate", migrate)
    monkeypatch.setattr(setup.time, "sleep", pauses.append)
    with pytest.raises(OutdatedDatabase):
        operations.prepare_database(config)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert caplog.messages[0] == "database_unreachable, next try in 1 s: connection refused"


def test_tables_of_another_version_that_come_late_are_not_served(config: ServiceConfig, outage: PostgresServer) -> None:
    stop(outage)
    app = create_app(config)
    service: Service = app.extensions["keychorus"]
    try:
        start(outage)
        with service.database.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'r0001'")
        with pytest.raises(OutdatedDatabase):
            service.candidate.tick()
        assert app.test_client().get(routes.release(POPULATION)).status_code == 503
        assert not service.coordinator.leads
    finally:
        service.close()
