"""A real service on a real database, whose processes can be killed at any moment."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from postgres import PostgresServer
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service import operations
from aggregation_service.config import (
    CONFIG_VARIABLE,
    UNLIMITED,
    ServiceConfig,
    load_config,
    load_signing_key,
    render_config,
)
from aggregation_service.identity import devices
from aggregation_service.policy import PopulationPolicy
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.database import Database
from aggregation_service.storage.tables import coordinator, ledger, rounds
from protocol.arrays import FloatArray
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters

POPULATION = "chaos"
NUM_DEVICES = 8
REPORT_GOAL = 4  # a power of two: averages are exact
BRAND = np.array([677, -991], np.float32) * np.float32(2.0**-12)
"""Every report begins with it, and no sum or average does: where it is found in a file, a report lies in the clear."""
NUM_VALUES = 8
SPECS = (TensorSpec(name="rows", shape=(NUM_DEVICES, BRAND.size + NUM_VALUES)),)
WORKERS = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_weights() -> FloatArray:
    """Zeros, but where reports have their brand: no average of brands added to this is a brand."""
    weights = np.zeros(SPECS[0].shape, np.float32)
    weights[:, : BRAND.size] = np.sign(BRAND) * 0.5
    return weights


PLAIN = Plan(
    tensors=SPECS,
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(
        l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=REPORT_GOAL, minimum_separation_s=0.0
    ),
)
PLAIN_ROUNDS = RoundParameters(minimum_reports=1, over_selection=1.5, selection_timeout_s=1.0, report_deadline_s=1.5)


@dataclass
class Site:
    """A service with two workers, kept running as systemd would. `server` is None on SQLite."""

    folder: Path
    server: PostgresServer | None
    plan: Plan = PLAIN
    parameters: RoundParameters = PLAIN_ROUNDS
    device_ids: list[str] = field(default_factory=lambda: [secrets.token_hex(16) for _ in range(NUM_DEVICES)])
    keys: list[Ed25519PrivateKey] = field(
        default_factory=lambda: [Ed25519PrivateKey.generate() for _ in range(NUM_DEVICES)]
    )
    port: int = field(default_factory=free_port)
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> ServiceConfig:
        return load_config(self.folder / "service.toml")

    @property
    def service_key(self) -> Ed25519PublicKey:
        return load_signing_key(self.folder / "signing.key").public_key()

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")

    def make(self) -> None:
        url = None if self.server is None else self.server.create_database()
        paths = operations.initialise(self.folder, database_url=url)
        config = replace(load_config(paths.config_path), address_rate_limit=UNLIMITED, device_rate_limit=UNLIMITED)
        paths.config_path.write_text(render_config(config))
        operations.add_population(config, POPULATION, PopulationPolicy(keep_checkpoints=None))  # the verdict reads all
        operations.create_task(
            config,
            population=POPULATION,
            plan=self.plan,
            training_graph=b"not trained with here",
            checkpoint={"rows": first_weights()},
            parameters=self.parameters,
            optimizer=ServerAverage(),
        )
        self.database = Database(config.database_url)
        with self.database.write() as connection:
            for device_id, key in zip(self.device_ids, self.keys, strict=True):
                public = key.public_key()
                devices.add(connection, POPULATION, device_id, public, enrolled_by="open", now=time.time())

    def keep_running(self) -> None:
        """Starts the service where it does not run, as systemd's Restart= does."""
        if self._process is not None and self._process.poll() is None:
            return
        self.restarts += self._process is not None
        environment = {**os.environ, CONFIG_VARIABLE: str(self.folder / "service.toml")}
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                operations.gunicorn_command(port=self.port, workers=WORKERS),
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def wait_until(self, holds: Callable[[], bool], within_s: float, what: str | None = None) -> bool:
        """Waits, keeping the service running; if it takes too long, False, or a failure that says `what`."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self.keep_running()
            with suppress(SQLAlchemyError):  # of a database that is being restarted
                if holds():
                    return True
            time.sleep(0.001)
        if what is not None:
            raise AssertionError(f"{what} within {within_s} s; the service's log ends:\n{self.log[-3000:]}")
        return False

    def answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def phase(self) -> tuple[str, int, int]:
        """Phase, selected and reported of the newest round."""
        newest = select(rounds.c.phase, rounds.c.selected, rounds.c.reported).order_by(rounds.c.number.desc()).limit(1)
        with self.database.read() as connection:
            row = connection.execute(newest).one_or_none()
        return ("none", 0, 0) if row is None else (row.phase, row.selected, row.reported)

    def newest_round(self) -> int:
        with self.database.read() as connection:
            return connection.scalar(select(func.max(rounds.c.number))) or 0

    def closed_after(self, number: int) -> bool:
        """Whether a round that began after round `number` was closed."""
        later = select(rounds.c.id).where(rounds.c.number > number, rounds.c.phase == "closed").limit(1)
        with self.database.read() as connection:
            return connection.scalar(later) is not None

    def ledger_length(self) -> int:
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(ledger)) or 0

    def leader(self) -> tuple[int, int]:
        """Epoch and process id of whoever leads, or led last."""
        with self.database.read() as connection:
            row = connection.execute(select(coordinator)).one()
        return row.epoch, int(row.holder.rpartition(":")[2])

    def workers(self) -> list[int]:
        if self._process is None or self._process.poll() is not None:
            return []
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def all_ready(self) -> bool:
        """Whether all workers have come so far as to open the database: from then on each may take the lead."""
        with suppress(psutil.NoSuchProcess):
            workers = [psutil.Process(pid) for pid in self.workers()]
            return len(workers) == WORKERS and all(map(self._has_opened_database, workers))
        return False

    def kill_worker(self) -> None:
        """One that does not lead, if there is one."""
        leader = self.leader()[1]
        for pid in sorted(self.workers(), key=lambda pid: pid == leader)[:1]:
            _kill(pid)

    def kill_coordinator(self) -> None:
        _kill(self.leader()[1])

    def kill_database(self) -> None:
        """PostgreSQL's processes; or all of the service's at once, since SQLite lives in them."""
        pid = self._service_pid() if self.server is None else self.server.pid
        parent = psutil.Process(pid)
        parent.suspend()  # so that it starts no child that nobody kills
        doomed = [parent, *parent.children(recursive=True)]
        for process in doomed:
            _kill(process.pid)
        if self.server is None and self._process is not None:
            self._process.wait()
        _, alive = psutil.wait_procs(doomed, timeout=10)
        assert not alive, f"{alive} survived kill -9"
        if self.server is not None:
            self.server.server.ensure_postgres_running()

    def files(self) -> list[Path]:
        """Everything that the database has on the disk."""
        if self.server is None:
            return list(self.folder.glob("service.sqlite*"))
        return [path for path in Path(self.server.server.pgdata).rglob("*") if path.is_file()]

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
            self._process.kill()
            self._process.wait()
        self.database.close()

    def _has_opened_database(self, worker: psutil.Process) -> bool:
        if self.server is not None:
            return bool(worker.net_connections(kind="unix"))
        return any("service.sqlite" in file.path for file in worker.open_files())

    def _service_pid(self) -> int:
        assert self._process is not None
        return self._process.pid


@contextmanager
def running_site(site: Site) -> Iterator[Site]:
    """Makes a service and runs it until the block ends."""
    site.make()
    try:
        site.keep_running()
        site.wait_until(site.answers, 30, "the service must answer")
        yield site
    finally:
        site.close()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
