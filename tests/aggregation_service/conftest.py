"""A real service over Flask's test client, a real SQLite file, and a clock that the test moves."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from aggregation_service import operations
from aggregation_service.app import create_app
from aggregation_service.clock import set_file_clock
from aggregation_service.config import ServiceConfig, load_config
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.service import Service
from protocol import routes
from protocol.messages import CheckIn, CheckInAnswer, Receipt, Selected, decode_message, encode_message
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters
from protocol.update import UPDATE_MEDIA_TYPE, encode_update
from protocol.weights import FloatArray, Weights, flatten

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

    def post_check_in(self, device_id: str | None = None, num_examples: int = 100) -> CheckInAnswer:
        message = CheckIn(device_id=device_id or secrets.token_hex(16), runtime="test", num_examples=num_examples)
        response = self.request(
            "POST", routes.check_ins(POPULATION), data=encode_message(message), content_type="application/json"
        )
        assert response.status_code == 200
        answer: CheckInAnswer = decode_message(response.data, CheckInAnswer)  # type: ignore[arg-type]
        return answer

    def select(self, device_id: str | None = None) -> Selected:
        answer = self.post_check_in(device_id)
        assert isinstance(answer, Selected)
        return answer

    def put(self, selected: Selected, body: bytes, **headers: str) -> TestResponse:
        sent = {
            "Authorization": f"Bearer {selected.assignment_token}",
            "Content-Type": UPDATE_MEDIA_TYPE,
            **headers,
        }
        path = routes.report(selected.round_id, selected.assignment_id)
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
        response = self.request("GET", routes.rounds(POPULATION))
        assert response.status_code == 200
        summary: dict[str, Any] = msgspec.json.decode(response.data)
        return summary

    def weights(self) -> tuple[int, FloatArray]:
        version, weights = operations.current_checkpoint(self.config, POPULATION)
        return version, flatten(weights, SPECS)


def make_plan(*, goal: int = 3, noise: float = 0.0, clip: float = 1.0, separation_s: float = 0.0) -> Plan:
    return Plan(
        tensors=SPECS,
        training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
        privacy=PrivacyParameters(
            l2_clip_norm=clip, noise_multiplier=noise, report_goal=goal, minimum_separation_s=separation_s
        ),
    )


@pytest.fixture
def plan() -> Plan:
    return make_plan()


@pytest.fixture
def plans() -> Any:
    return make_plan


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    rehearsal = Rehearsal(tmp_path / "service")
    rehearsal.folder.mkdir()
    rehearsal.wait(0)
    operations.initialise(rehearsal.folder, clock_path=rehearsal.clock_path)
    operations.add_population(rehearsal.config, POPULATION)
    rehearsal.restart()
    yield rehearsal
    rehearsal.service.close()
