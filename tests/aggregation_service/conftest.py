"""A real service over Flask's test client, a real database of either kind, and a clock that the test moves."""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from postgres import PostgresServer, postgres_server
from werkzeug.test import TestResponse

from aggregation_service import operations
from aggregation_service.app import create_app
from aggregation_service.clock import set_file_clock
from aggregation_service.config import ServiceConfig, load_config
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.service import Service
from aggregation_service.storage.database import Database, upgrade
from aggregation_service.summaries import summarise
from protocol import routes
from protocol.arrays import FloatArray
from protocol.enrolment import Enrol
from protocol.manifest import encode_public_key
from protocol.messages import CheckIn, CheckInAnswer, Receipt, Selected, decode_message, encode_message
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters
from protocol.signed_requests import sha256_hex, sign_request
from protocol.update import UPDATE_MEDIA_TYPE, encode_update
from protocol.weights import Weights, flatten

POPULATION = "en-gb"
START = 1_700_000_000.0
SPECS = (
    TensorSpec(name="embedding", shape=(7, 3)),
    TensorSpec(name="kernel", shape=(3, 4)),
    TensorSpec(name="bias", shape=(4,)),
)


@dataclass
class Rehearsal:
    """A service whose clock stands still unless told, and devices made of nothing but requests."""

    folder: Path
    now: float = START
    apps: list[Flask] = field(default_factory=list)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)
    enrolled: set[str] = field(default_factory=set)
    devices: dict[str, str] = field(default_factory=dict)  # assignment to device
    _token: str = ""

    @property
    def clock_path(self) -> Path:
        return self.folder / "clock"

    @property
    def config(self) -> ServiceConfig:
        return load_config(self.folder / "service.toml")

    @property
    def service(self) -> Service:
        service: Service = self.apps[-1].extensions["keychorus"]
        return service

    def wait(self, seconds: float) -> None:
        self.now += seconds
        set_file_clock(self.clock_path, self.now)

    def restart(self) -> None:
        """A new process would find what this finds: the database, and no sums."""
        if self.apps:
            self.service.close()
        self.apps.append(create_app(self.config))

    def create_task(self, plan: Plan, *, momentum: float = 0.0, rate: float = 1.0, **parameters: Any) -> Weights:
        weights = {spec.name: self.generator.normal(size=spec.shape).astype(np.float32) for spec in plan.tensors}
        operations.create_task(
            self.config,
            population=POPULATION,
            plan=plan,
            training_graph=b"TFL3 opaque here",
            checkpoint=weights,
            parameters=RoundParameters(**{"minimum_reports": 1, **parameters}),
            optimizer=ServerMomentum(momentum=momentum, learning_rate=rate),
        )
        return weights

    def request(self, method: str, path: str, **arguments: Any) -> TestResponse:
        return self.apps[-1].test_client().open(path, method=method, **arguments)

    @property
    def token(self) -> str:
        """An operator's enrolment token that never runs out."""
        if not self._token:
            made = operations.create_enrolment_token(self.config, POPULATION, uses=1_000_000, days=3650)
            self._token = made.token
        return self._token

    def key(self, device_id: str) -> Ed25519PrivateKey:
        return self.keys.setdefault(device_id, Ed25519PrivateKey.generate())

    def sign(self, device_id: str, method: str, path: str, body: bytes = b"", **changes: Any) -> dict[str, str]:
        """The headers that sign a request as a device, with `changes` to what is signed."""
        signed = {"method": method, "path": path, "body_sha256": sha256_hex(body), "device_id": device_id}
        signed |= {"at": int(self.now), "nonce": secrets.token_hex(16), "service": self.service.public_key}
        return sign_request(self.key(device_id), **(signed | changes))

    def post(self, device_id: str, path: str, message: msgspec.Struct, **changes: Any) -> TestResponse:
        """Sends a message signed by a device."""
        body = encode_message(message)
        headers = self.sign(device_id, "POST", path, body, **changes)
        return self.request("POST", path, data=body, headers=headers, content_type="application/json")

    def post_enrol(self, device_id: str, **fields: Any) -> TestResponse:
        public_key = encode_public_key(self.key(device_id).public_key())
        message = Enrol(**({"device_id": device_id, "public_key": public_key} | fields))
        return self.post(device_id, routes.devices(POPULATION), message)

    def enrol(self, device_id: str | None = None) -> str:
        """Enrols a device, once, and returns its id."""
        device_id = device_id or secrets.token_hex(16)
        if device_id not in self.enrolled:
            response = self.post_enrol(device_id, token=self.token)
            assert response.status_code == 200, response.json
            self.enrolled.add(device_id)
        return device_id

    def post_check_in(
        self, device_id: str | None = None, num_examples: int = 100, *, discovers_words: bool = False
    ) -> CheckInAnswer:
        device_id = self.enrol(device_id)
        message = CheckIn(
            device_id=device_id,
            runtime="test",
            num_examples=num_examples,
            discovers_words=discovers_words or msgspec.UNSET,
        )
        response = self.post(device_id, routes.check_ins(POPULATION), message)
        assert response.status_code == 200, response.json
        answer: CheckInAnswer = decode_message(response.data, CheckInAnswer)  # type: ignore[arg-type]
        if isinstance(answer, Selected):
            self.devices[answer.assignment_id] = device_id
        return answer

    def select(self, device_id: str | None = None, *, discovers_words: bool = False) -> Selected:
        answer = self.post_check_in(device_id, discovers_words=discovers_words)
        assert isinstance(answer, Selected)
        return answer

    def put(self, selected: Selected, body: bytes, **headers: str) -> TestResponse:
        path = routes.report(selected.round_id, selected.assignment_id)
        device_id = self.devices.get(selected.assignment_id) or self.enrol()
        sent = {
            "Authorization": f"Bearer {selected.assignment_token}",
            "Content-Type": UPDATE_MEDIA_TYPE,
            **self.sign(device_id, "PUT", path, body),
            **headers,
        }
        length = {"CONTENT_LENGTH": str(len(body))}  # which the test client leaves out of an empty request
        return self.request("PUT", path, data=body, headers=sent, environ_overrides=length)

    def report(self, selected: Selected, update: FloatArray) -> Receipt:
        response = self.put(selected, encode_update(update))
        assert response.status_code == 200, response.json
        return decode_message(response.data, Receipt)

    def update(self, norm: float = 0.5, size: int = 37) -> FloatArray:
        update = self.generator.normal(size=size)
        return (update * norm / np.linalg.norm(update)).astype(np.float32)

    def summary(self) -> dict[str, Any]:
        """What an operator would see now."""
        self.service.coordinator.advance(POPULATION)
        summary = summarise(self.service.database, POPULATION, self.config.privacy_delta)
        built: dict[str, Any] = msgspec.to_builtins(summary)
        return built

    def weights(self) -> tuple[int, FloatArray]:
        version, weights = operations.current_checkpoint(self.config, POPULATION)
        return version, flatten(weights, SPECS)


def make_plan(
    *,
    goal: int = 3,
    noise: float = 0.0,
    clip: float = 1.0,
    separation_s: float = 0.0,
    noise_by: Literal["service", "devices"] = "service",
    **fields: Any,
) -> Plan:
    return Plan(
        tensors=SPECS,
        training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
        privacy=PrivacyParameters(
            l2_clip_norm=clip,
            noise_multiplier=noise,
            report_goal=goal,
            minimum_separation_s=separation_s,
            noise_by=noise_by,
        ),
        **fields,
    )


@pytest.fixture
def plan() -> Plan:
    return make_plan()


@pytest.fixture
def plans() -> Any:
    return make_plan


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """A module whose tests do not depend on the database says so: its own `database_kind` that returns "sqlite"."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to copy: migrating takes longer than most tests do."""
    path = tmp_path_factory.mktemp("migrated") / "service.sqlite"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[str]:
    """A database of the kind, migrated already."""
    if database_kind == "sqlite":
        path = tmp_path / "service.sqlite"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def rehearsal(tmp_path: Path, database_url: str) -> Iterator[Rehearsal]:
    rehearsal = Rehearsal(tmp_path / "service")
    rehearsal.folder.mkdir()
    rehearsal.wait(0)
    operations.initialise(rehearsal.folder, clock_path=rehearsal.clock_path, database_url=database_url)
    operations.add_population(rehearsal.config, POPULATION)
    rehearsal.restart()
    yield rehearsal
    rehearsal.service.close()
