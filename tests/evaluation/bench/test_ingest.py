import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from aggregation_service import operations
from evaluation.bench import ingest
from evaluation.bench.bench_service import POPULATION, make_service
from evaluation.bench.ingest import InNumpy, Setting, WrongSum, run
from model.network import NetworkShape
from protocol.update import decode_update
from protocol.weights import flatten, unflatten

pytestmark = pytest.mark.slow  # starts the processes that it times

SHAPE = NetworkShape(vocabulary_size=50, embedding_size=4, num_units=6)
SETTING = Setting(shape=SHAPE, reports=6, connections=3, workers=1)


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def updates() -> list[bytes]:
    return SETTING.bodies()


def test_a_run_tells_rate_bytes_and_memory() -> None:
    result = run(SETTING, repeats=2, console=quiet())
    assert result.name == "ingest"
    assert result.ratio == result.value / result.reference
    assert len(result.ours.values) == 2
    details = result.details
    assert float(details["updates_a_second"]) == pytest.approx(1e3 / result.value, rel=0.01)
    assert float(details["slowest_round"]) <= float(details["updates_a_second"]) <= float(details["quickest_round"])
    assert 30 < float(details["peak_worker_mb"]) < 300
    assert details["update_bytes"] == len(SETTING.bodies()[0])


def test_a_sum_that_is_not_that_of_the_reports_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, updates: list[bytes]
) -> None:
    config = make_service(tmp_path / "service", None)
    ingest.create_task(config, SETTING)
    side = ingest.InService.__new__(ingest.InService)
    side._setting, side._bodies = SETTING, [(body, "") for body in updates]
    side._service = type("Unserved", (), {"config": config})()
    _, weights = operations.current_checkpoint(config, POPULATION)
    with pytest.raises(WrongSum, match=r"must be in the sum 2 times, got -?0\.00"):
        side._check_sum(flatten(weights, SHAPE.tensors))  # no round was closed at all


def test_updates_differ_and_are_not_clipped(updates: list[bytes]) -> None:
    decoded = [decode_update(body, SHAPE.num_weights, "int16") for body in updates]
    assert len(set(updates)) == len(updates)
    assert all(np.linalg.norm(update) < SETTING.plan().privacy.l2_clip_norm for update in decoded)


@pytest.mark.parametrize("missing", [0, 1])
def test_one_update_too_few_is_noticed_through_the_noise(
    monkeypatch: pytest.MonkeyPatch, updates: list[bytes], missing: int
) -> None:
    setting = replace(SETTING, reports=299)
    sent = [75 - missing, 75, 75, 75]
    total = np.zeros(SHAPE.num_weights)
    for body, count in zip(updates, sent, strict=True):
        total += count * decode_update(body, SHAPE.num_weights, "int16").astype(np.float64)
    total += 0.1 * np.random.default_rng(5).normal(size=total.size)  # z * C
    after = (total / setting.cohort).astype(np.float32)
    monkeypatch.setattr(operations, "current_checkpoint", lambda *_: (1, unflatten(after, SHAPE.tensors)))
    side = ingest.InService.__new__(ingest.InService)
    side._setting, side._bodies = setting, [(body, "") for body in updates]
    side._service = type("Unserved", (), {"config": None})()
    before = np.zeros(SHAPE.num_weights, np.float32)
    if missing:
        with pytest.raises(WrongSum, match="update 0 must be in the sum 75 times"):
            side._check_sum(before)
    else:
        side._check_sum(before)


def test_the_reference_unpacks_and_adds() -> None:
    assert InNumpy(SETTING).run() > 0
