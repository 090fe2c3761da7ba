"""The commands, and one real server: started as an operator starts it, spoken to over a real socket."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import requests
from click.testing import CliRunner, Result
from signing_device import SignedRequest, SigningDevice

from aggregation_service import operations
from aggregation_service.cli import service
from aggregation_service.config import CONFIG_VARIABLE, load_config, load_signing_key
from protocol import routes
from protocol.messages import CheckInAnswer, Selected, decode_message
from protocol.plan import Plan, TensorSpec, encode_plan
from protocol.update import encode_update
from protocol.weights import encode_checkpoint

START = "from aggregation_service.cli import service; service()"


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner(env={CONFIG_VARIABLE: str(folder / "service.toml")}).invoke(service, arguments)


def make_service(folder: Path, plan: Plan) -> None:
    (folder / "plan.json").write_bytes(encode_plan(plan))
    (folder / "graph.tflite").write_bytes(b"TFL3")
    weights = {spec.name: np.zeros(spec.shape, np.float32) for spec in plan.tensors}
    (folder / "weights.safetensors").write_bytes(encode_checkpoint(weights))
    for arguments in (
        ["init", str(folder)],
        ["population", "add", "en"],
        [
            *("task", "create", "en", "--plan", str(folder / "plan.json")),
            *("--training-graph", str(folder / "graph.tflite"), "--checkpoint", str(folder / "weights.safetensors")),
            *("--minimum-reports", "1", "--server-momentum", "0"),
        ],
    ):
        result = invoke(folder, *arguments)
        assert result.exit_code == 0, result.output


def test_every_command_has_help_with_an_example() -> None:
    for path in (["init"], ["population", "add"], ["task", "create"], ["run"], ["release", "publish"], ["status"]):
        result = CliRunner().invoke(service, [*path, "--help"])
        assert result.exit_code == 0
        assert f"keychorus service {' '.join(path)}" in result.output


def test_from_nothing_to_a_release(tmp_path: Path, plan: Plan) -> None:
    make_service(tmp_path, plan)
    release = tmp_path / "release"
    release.mkdir()
    (release / "predictor.tflite").write_bytes(b"TFL3")
    result = invoke(tmp_path, "release", "publish", "en", str(release))
    assert "released model version 0 to en: predictor, privacy_statement" in result.output
    assert "en: model version 0" in invoke(tmp_path, "status").output
    assert msgspec.json.decode(invoke(tmp_path, "status", "--json").output)["population"] == "en"


def test_a_plan_may_be_toml(tmp_path: Path, plan: Plan) -> None:
    make_service(tmp_path, plan)
    (tmp_path / "plan.toml").write_text(
        """
        [[tensors]]
        name = "bias"
        shape = [4]
        [training]
        batch_size = 4
        sequence_length = 5
        local_epochs = 1
        learning_rate = 0.5
        max_words = 100
        [privacy]
        l2_clip_norm = 1.0
        noise_multiplier = 0.5
        report_goal = 10
        minimum_separation_s = 3600.0
        """
    )
    weights = encode_checkpoint({"bias": np.zeros(4, np.float32)})
    (tmp_path / "weights.safetensors").write_bytes(weights)
    arguments = ["--plan", str(tmp_path / "plan.toml"), "--training-graph", str(tmp_path / "graph.tflite")]
    checkpoint = ["--checkpoint", str(tmp_path / "weights.safetensors"), "--minimum-reports", "5"]
    result = invoke(tmp_path, "task", "create", "en", *arguments, *checkpoint)
    assert result.output.startswith("en trains from model version 1, with ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "service init"),
        (["run"], "service init"),
        (["population", "add", "en"], "service init"),
        (["init", "--delta", "2"], "privacy_delta must be in (0, 1), got 2.0"),
    ],
)
def test_errors_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(tmp_path, *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert said in result.output.replace("\n", " ")
    assert not (tmp_path / "service").exists()


def one_sentence(result: Result, said: str) -> None:
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_files_of_one_stem_are_not_released(tmp_path: Path, plan: Plan) -> None:
    make_service(tmp_path, plan)
    release = tmp_path / "release"
    release.mkdir()
    for name in ("model.json", "model.tflite"):
        (release / name).write_bytes(b"1")
    result = invoke(tmp_path, "release", "publish", "en", str(release))
    one_sentence(result, "model.json and model.tflite would both be named model")


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("service.sqlite", b"this is no database " * 100, "the database cannot be used"),
        ("service.sqlite", None, "the database cannot be used"),
        ("clock", b"short", "must have 8 bytes, got 5"),
        ("clock", None, "cannot be read"),
    ],
)
def test_broken_files_are_told_in_one_sentence(tmp_path: Path, path: str, content: bytes | None, said: str) -> None:
    assert invoke(tmp_path, "init", str(tmp_path), "--clock", str(tmp_path / "clock")).exit_code == 0
    (tmp_path / path).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / path).write_bytes(content)
    one_sentence(invoke(tmp_path, "population", "add", "en"), said)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`keychorus service run` as its own process, stopped in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, CONFIG_VARIABLE: str(folder / "service.toml")}
    command = [sys.executable, "-c", START, "run", "--port", str(port), "--threads", "4"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        address = f"http://127.0.0.1:{port}"
        _await_health(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(15)


def _await_health(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{address}/health", timeout=5).ok:
                return
        except (requests.ConnectionError, requests.Timeout):  # the port is open before the workers have begun
            time.sleep(0.1)
    raise TimeoutError(log.read_text())


def _await_close(folder: Path) -> None:
    """The last report may have come to the worker that does not lead; the leader finds it by its next look."""
    for _ in range(300):
        (summary,) = operations.summaries(load_config(folder / "service.toml"))
        if [entry.phase for entry in summary.rounds] == ["closed"]:
            return
        time.sleep(0.1)
    raise TimeoutError((folder / "log").read_text())


def send(http: requests.Session, address: str, request: SignedRequest) -> requests.Response:
    return http.request(request.method, address + request.path, data=request.body, headers=request.headers, timeout=30)


def check_in(http: requests.Session, address: str, device: SigningDevice) -> Selected:
    """A worker that does not lead may have to wait for the first round to be opened."""
    for _ in range(100):
        response = send(http, address, device.check_in(5))
        answer: CheckInAnswer = decode_message(response.content, CheckInAnswer)  # type: ignore[arg-type]
        if isinstance(answer, Selected):
            return answer
        assert answer.reason == "no_round"
        time.sleep(0.1)
    raise TimeoutError("no round was opened")


def test_a_round_over_a_real_socket(tmp_path: Path, plans: Any) -> None:
    """A million weights: bodies that are refused unread must still be answered, and the connection go on."""
    plan = plans(goal=2, clip=1000.0)
    plan = msgspec.structs.replace(plan, tensors=(TensorSpec(name="weights", shape=(1_000_000,)),))
    make_service(tmp_path, plan)
    token = operations.create_enrolment_token(load_config(tmp_path / "service.toml"), "en", uses=3, days=1).token
    service = load_signing_key(tmp_path / "signing.key").public_key()
    devices = [SigningDevice("en", service) for _ in range(3)]
    generator = np.random.default_rng(0)
    updates = [generator.normal(size=1_000_000, scale=1e-3).astype(np.float32) for _ in range(2)]
    with serving(tmp_path) as address, requests.Session() as http:
        for device in devices:
            assert send(http, address, device.enrol(token)).status_code == 200
        places = [(device, check_in(http, address, device)) for device in devices]
        first, selected = places[0]
        assert send(http, address, first.report(selected, bytes(8_000_000))).status_code == 413
        unsized = first.report(selected, b"chunk")
        path, headers = address + unsized.path, unsized.headers
        assert http.put(path, data=iter([b"chunk"] * 10), headers=headers, timeout=30).status_code == 411
        for (device, place), update in zip(places, updates, strict=False):
            assert send(http, address, device.report(place, encode_update(update))).status_code == 200
        assert send(http, address, first.report(selected, encode_update(updates[0]))).status_code == 409
        late, place = places[2]
        assert send(http, address, late.report(place, encode_update(updates[0]))).status_code == 410
        assert http.get(address + routes.rounds("en"), timeout=10).status_code == 401
        _await_close(tmp_path)
    summary = msgspec.to_builtins(operations.summaries(load_config(tmp_path / "service.toml"))[0])
    assert [entry["phase"] for entry in summary["rounds"]] == ["closed"]
    assert summary["refusals"] == {
        "duplicate_report": 1,
        "late_report": 1,
        "length_required": 1,
        "too_large": 1,
    }
    _, weights = operations.current_checkpoint(load_config(tmp_path / "service.toml"), "en")
    np.testing.assert_allclose(weights["weights"], np.mean(updates, axis=0), rtol=0, atol=1e-7)
    log = (tmp_path / "log").read_text()
    assert "round_closed" in log
    assert "Traceback" not in log
