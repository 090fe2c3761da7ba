"""What gunicorn reads, and what its hooks do; the worker itself is tested in test_bad_input.py."""

import datetime
import os
import signal
import socket
import ssl
import time
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gunicorn.config import KNOWN_SETTINGS
from gunicorn_service import GunicornService, gunicorn_service, read_all

from aggregation_service import gunicorn_settings, operations
from aggregation_service.config import load_config, render_config

GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
GET_HEALTH = GET_METRICS.replace(b"metrics", b"health")


def test_every_setting_is_one_that_gunicorn_knows() -> None:
    ours = {name for name in vars(gunicorn_settings) if name.islower() and not name.startswith("_")}
    ours -= {"ctypes", "gc", "os", "shutil", "ssl", "tempfile"}
    assert ours <= {setting.name for setting in KNOWN_SETTINGS}


def test_the_folder_of_metrics_is_made_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # so that what is set below is taken back
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    gunicorn_settings.on_starting(None)
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
    gunicorn_settings.on_exit(None)
    assert not folder.exists()


def test_a_folder_that_is_named_is_emptied_of_old_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_17.db").write_bytes(b"old")
    (tmp_path / "notes.txt").write_bytes(b"not ours")
    gunicorn_settings.on_starting(None)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_dead_workers_gauges_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for name in ("gauge_livesum_17.db", "gauge_livesum_18.db", "counter_17.db"):
        (tmp_path / name).write_bytes(b"")
    gunicorn_settings.child_exit(None, SimpleNamespace(pid=17))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter_17.db", "gauge_livesum_18.db"]


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    paths = operations.initialise(tmp_path / "service")
    return paths.config_path


def sample(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_workers_count_together_and_one_leads_also_after_it_died(config_path: Path, tmp_path: Path) -> None:
    with gunicorn_service(config_path, tmp_path / "log", workers=2) as service:
        for _ in range(20):
            service.exchange(GET_HEALTH)
        first = service.exchange(GET_METRICS).decode()
        assert sample(first, 'keychorus_request_seconds_count{method="GET",route="/health"') >= 20
        for pid in service.worker_pids():
            os.kill(pid, signal.SIGKILL)
        second = wait_for_leader(service)
        assert sample(second, 'keychorus_request_seconds_count{method="GET",route="/health"') >= 20, "still counted"
        assert sample(second, "keychorus_coordinator_leader ") == 1


def wait_for_leader(service: GunicornService) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            told = service.exchange(GET_METRICS).decode()
        except OSError:
            told = ""
        if sample(told, "keychorus_coordinator_leader ") == 1:
            return told
        time.sleep(0.2)
    raise AssertionError(service.log_path.read_text())


def make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key").write_bytes(private)


def test_tls_by_gunicorn_is_as_patient(config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_path.write_text(render_config(replace(load_config(config_path), request_patience_s=1.5)), encoding="utf-8")
    make_certificate(tmp_path)
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--certfile {tmp_path / 'certificate'} --keyfile {tmp_path / 'key'}")
    context = ssl.create_default_context(cafile=tmp_path / "certificate")

    def connect(service: GunicornService) -> ssl.SSLSocket:
        return context.wrap_socket(service.connect(), server_hostname="localhost")

    def is_healthy(service: GunicornService) -> bool:
        with connect(service) as connection:
            connection.sendall(GET_HEALTH)
            return b"200 OK" in read_all(connection)

    with gunicorn_service(config_path, tmp_path / "log", is_healthy=is_healthy) as service:
        with connect(service) as connection:  # kept alive: the second request is as any
            for _ in range(2):
                connection.sendall(GET_HEALTH.replace(b"close", b"keep-alive"))
                response = HTTPResponse(connection)
                response.begin()
                assert (response.status, response.read()) == (200, b'{"status":"ok"}')
        slow = [service.connect() for _ in range(10)]
        for connection in slow:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        half = [connect(service) for _ in range(2)]
        for one in half:
            one.sendall(b"GET /health HTTP/1.1\r\n")
        began = time.monotonic()
        assert is_healthy(service)
        assert time.monotonic() - began < 8
        for one in (*slow, *half):
            assert cut(one)


def cut(connection: socket.socket) -> bool:
    """Whether the other side ends it."""
    try:
        read_all(connection)
    except TimeoutError:
        return False
    except OSError:
        pass
    connection.close()
    return True
