"""A small model, a release of it, and a real HTTP service on loopback that a test can make err in any way."""

import importlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask, Response, request
from secure_group import Group
from werkzeug.serving import WSGIRequestHandler, make_server

from device_runtime.conditions import Conditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.releases.release import save_release
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.agent_state import AgentState, StateFile
from device_runtime.runtime import RUNTIME_VARIABLE, RUNTIMES
from device_runtime.suggestions.predictor import Predictor
from device_runtime.typing_log import TypingLog
from model.network import NetworkShape, initial_weights
from protocol import routes
from protocol.enrolment import Enrol, Enrolled
from protocol.manifest import FileEntry, Manifest, sign_manifest
from protocol.messages import CheckInAnswer, Problem, Receipt, Selected, decode_message, encode_message
from protocol.plan import Plan, PrivacyParameters, TrainingParameters, encode_plan
from protocol.weights import Weights, encode_checkpoint
from tokenizer.casing import Casing
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

POPULATION = "tests"
EXPORTED_VARIABLE = "KEYCHORUS_TEST_MODELS"
"""Environment variable that names a folder where exported models are kept from run to run: emulated ARM has no
TensorFlow, so `tests/aarch64/run.sh` exports them before it goes there."""
MESSAGES = [
    "see you at the station tomorrow morning",
    "the train is late again, see you soon",
    "are you at home? call me when you are home",
    "good morning! how are you today",
    "I am on the train to the station",
    "can you call me tomorrow? thanks",
    "thanks for the tea, it was very good",
    "we are going home soon, are you coming too?",
]


def exported(function: str, *arguments: Any, **options: Any) -> bytes:
    """What a function of `model.export` gives, from the folder of `EXPORTED_VARIABLE` where that is set."""
    kept = Path(os.environ.get(EXPORTED_VARIABLE, os.devnull)) / f"{function}.tflite"
    if kept.is_file():
        return kept.read_bytes()
    content: bytes = getattr(importlib.import_module("model.export"), function)(*arguments, **options)
    if kept.parent.is_dir():
        kept.write_bytes(content)
    return content


@pytest.fixture(scope="session")
def messages() -> list[str]:
    return MESSAGES


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    counts = count_words(MESSAGES)
    words = [word for word in counts if word not in ".,?!:;"]
    return Vocabulary(train_vocabulary(counts, size=len(words) + 3 + 6))


@pytest.fixture(scope="session")
def shape(vocabulary: Vocabulary) -> NetworkShape:
    return NetworkShape(vocabulary_size=len(vocabulary), embedding_size=8, num_units=12)


@pytest.fixture(scope="session")
def checkpoint(shape: NetworkShape) -> Weights:
    return initial_weights(shape, seed=3)


@pytest.fixture(scope="session")
def graph(shape: NetworkShape) -> bytes:
    return exported("export_training_graph", shape, batch_size=4, sequence_length=6)


@pytest.fixture(scope="session")
def plan(shape: NetworkShape) -> Plan:
    return Plan(
        tensors=shape.tensors,
        training=TrainingParameters(
            batch_size=4, sequence_length=6, local_epochs=1, learning_rate=0.5, max_words=1_000
        ),
        privacy=PrivacyParameters(
            l2_clip_norm=0.25, noise_multiplier=1.0, report_goal=10, minimum_separation_s=3_600.0
        ),
    )


@pytest.fixture(scope="session")
def prediction_model(checkpoint: Weights) -> bytes:
    return exported("export_prediction_model", checkpoint)


@pytest.fixture(scope="session")
def casing() -> Casing:
    return Casing({"station": "Station"})


@pytest.fixture
def predictor(prediction_model: bytes, vocabulary: Vocabulary, casing: Casing) -> Predictor:
    return Predictor(prediction_model, vocabulary, casing)


@pytest.fixture(params=RUNTIMES)
def each_runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once on each TFLite runtime."""
    monkeypatch.setenv(RUNTIME_VARIABLE, request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def signing_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def release_folder(
    tmp_path_factory: pytest.TempPathFactory,
    signing_key: Ed25519PrivateKey,
    prediction_model: bytes,
    vocabulary: Vocabulary,
    casing: Casing,
) -> Path:
    files = {
        "prediction_model": prediction_model,
        "vocabulary": vocabulary.model,
        "casing": casing.to_tsv(),
        "privacy_statement": b'{"mechanism": "none"}',
    }
    manifest = Manifest(
        purpose="release",
        population=POPULATION,
        model_version=7,
        created_at=0,
        files={name: FileEntry.of(content) for name, content in files.items()},
    )
    folder = tmp_path_factory.mktemp("release")
    save_release(folder, sign_manifest(manifest, signing_key), files, signing_key.public_key())
    return folder


@dataclass
class VirtualClock:
    """A clock that moves when told to."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@dataclass
class SwitchedConditions:
    """Conditions that hold for a number of reads."""

    reads_left: float = float("inf")

    def read(self) -> Conditions:
        self.reads_left -= 1
        return Conditions(idle=True, charging=self.reads_left >= 0, unmetered=True)


@pytest.fixture
def conditions() -> SwitchedConditions:
    return SwitchedConditions()


@dataclass
class Service:
    """What the loopback service answers, and what it was sent. Replace `answers` to make it err."""

    key: Ed25519PrivateKey
    base_url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    check_in_answer: CheckInAnswer | None = None
    reconnect_after_s: float = 100.0
    override: Callable[[], Response | None] = lambda: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    reports: list[bytes] = field(default_factory=list)
    enrolments: list[Enrol] = field(default_factory=list)
    group: Group | None = None

    def offer(self, contents: dict[str, bytes], *, key: Ed25519PrivateKey | None = None, **changes: Any) -> Selected:
        """Selects whoever checks in into a round with these files."""
        entries = {name: FileEntry.of(content) for name, content in contents.items()}
        self.files |= {entries[name].sha256: content for name, content in contents.items()}
        described = {
            "purpose": "round",
            "population": POPULATION,
            "model_version": 5,
            "created_at": 0,
            "files": entries,
        }
        manifest = Manifest(**(described | changes))
        selected = Selected(
            round_id=secrets.token_hex(16),
            assignment_id=secrets.token_hex(16),
            assignment_token=secrets.token_hex(32),
            report_within_s=600.0,
            manifest=sign_manifest(manifest, key or self.key),
        )
        self.check_in_answer = selected
        return selected

    def app(self) -> Flask:
        app = Flask("loopback_service")

        @app.before_request
        def note() -> Response | None:
            self.requests.append((request.method, request.path))
            self.bodies.append(request.get_data())
            return self.override()

        @app.post(routes.devices(POPULATION))
        def enrol() -> Response:
            message = decode_message(request.get_data(), Enrol)
            self.enrolments.append(message)
            answer = Enrolled(device_id=message.device_id, public_key=message.public_key)
            return Response(encode_message(answer), content_type="application/json")

        @app.post(routes.check_ins(POPULATION))
        def check_in() -> Response:
            return Response(encode_message(self.check_in_answer), content_type="application/json")

        @app.get(routes.file("<sha256>"))
        def file(sha256: str) -> Response:
            response = Response(self.files[sha256], content_type="application/octet-stream")
            return response.make_conditional(request, accept_ranges=True, complete_length=len(self.files[sha256]))

        @app.put(routes.report("<round_id>", "<assignment_id>"))
        def report(round_id: str, assignment_id: str) -> Response:
            selected = self.check_in_answer
            if request.headers.get("Authorization") != f"Bearer {selected.assignment_token}":
                problem = Problem(type="about:blank", title="wrong token", status=401, detail="")
                return Response(encode_message(problem), 401, content_type="application/problem+json")
            self.reports.append(request.get_data())
            receipt = Receipt(assignment_id=assignment_id, reconnect_after_s=self.reconnect_after_s)
            return Response(encode_message(receipt), content_type="application/json")

        @app.route(routes.secure_aggregation("<round_id>", "<assignment_id>", "<message>"), methods=["GET", "PUT"])
        def secure_aggregation(round_id: str, assignment_id: str, message: str) -> Response:
            return self.group.handle(request.method, message, request.get_data(), assignment_id)

        return app


class _QuietHandler(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


@pytest.fixture
def service(signing_key: Ed25519PrivateKey) -> Iterator[Service]:
    """A running service."""
    double = Service(signing_key)
    server = make_server("127.0.0.1", 0, double.app(), threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    double.base_url = f"http://127.0.0.1:{server.server_port}"
    yield double
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def round_files(plan: Plan, graph: bytes, checkpoint: Weights, vocabulary: Vocabulary) -> dict[str, bytes]:
    return {
        "plan": encode_plan(plan),
        "training_graph": graph,
        "checkpoint": encode_checkpoint(checkpoint),
        "vocabulary": vocabulary.model,
    }


@pytest.fixture
def log(tmp_path: Path, clock: VirtualClock) -> Iterator[TypingLog]:
    """A log with consent that holds `MESSAGES`."""
    with TypingLog(tmp_path / "typing_log.sqlite", clock=clock) as typing_log:
        typing_log.consent = True
        typing_log.extend([(text, "chat", clock.now - 60 + index) for index, text in enumerate(MESSAGES)])
        yield typing_log


@pytest.fixture
def enrolled(tmp_path: Path) -> str:
    """A device that the service took the key of already; its id."""
    state = AgentState(device_id=secrets.token_hex(16), enrolment="enrolled")
    StateFile(tmp_path / POPULATION / "agent.json").save(state)
    return state.device_id


@pytest.fixture
def new_agent(
    *,
    enrolled: str,  # rounds are what most tests are about
    tmp_path: Path,
    service: Service,
    log: TypingLog,
    clock: VirtualClock,
    conditions: SwitchedConditions,
) -> Iterator[Callable[..., Agent]]:
    """Makes an agent as a new process would: nothing but the data directory is carried over. Takes fields of its
    enrolment that are to differ.
    """
    with new_session() as session:
        environment = DeviceEnvironment(
            data_directory=tmp_path, conditions=conditions, clock=clock, http=session, jitter=lambda: 1.0
        )
        enrolment = Enrolment(service_url=service.base_url, population=POPULATION, public_key=service.key.public_key())
        yield lambda **changes: Agent(environment, replace(enrolment, **changes), log)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(11)
