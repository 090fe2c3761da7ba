import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from aggregation_service import operations
from evaluation.bench import ingest
from evaluation.bench.bench_service import POPULATION, make_service
from evaluation.bench.ingest import InNumpy, Setting, WrongSum, run
from model.network import NetworkShape
from protocol.update import decode_update, read_update
from protocol.weights import flatten

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
    assert 30 < float(details["peak_worker_mb"]) < 500
    assert details["update_bytes"] == len(SETTING.bodies()[0])


def test_a_sum_that_is_not_that_of_the_reports_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, updates: list[bytes]
) -> None:
    config = make_service(tmp_path / "service", None)
    ingest._create_task(config, SETTING)
    side = ingest.InService.__new__(ingest.InService)
    side._setting, side._bodies = SETTING, [(body, "") for body in updates]
    side._service = type("Unserved", (), {"config": config})()
    _, weights = operations.current_checkpoint(config, POPULATION)
    with pytest.raises(WrongSum, match=f"all {SHAPE.num_weights} weights"):
        side._check_sum(flatten(weights, SHAPE.tensors))  # no round was closed at all


def test_updates_differ_and_are_not_clipped(updates: list[bytes]) -> None:
    decoded = [decode_update(body, SHAPE.num_weights, "int16") for body in updates]
    assert len(set(updates)) == len(updates)
    assert all(np.linalg.norm(update) < SETTING.plan().privacy.l2_clip_norm for update in decoded)


def test_sums_of_a_round_are_exact_in_any_order(updates: list[bytes]) -> None:
    read = [read_update(body, SHAPE.num_weights, "int16") for body in updates]
    terms = [values * np.float64(scale) for values, scale in read] * 75
    there, back = sum(terms), sum(reversed(terms))
    counted = sum(75 * (values * np.float64(scale)) for values, scale in read)
    np.testing.assert_array_equal(there, back)
    np.testing.assert_array_equal(there, counted)


def test_the_reference_unpacks_and_adds() -> None:
    assert InNumpy(SETTING).run() > 0
