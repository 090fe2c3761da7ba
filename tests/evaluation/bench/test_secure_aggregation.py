import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from evaluation.bench import secure_aggregation
from evaluation.bench.runner import Result, Spread
from evaluation.bench.secure_aggregation import Choices, Figures, Measure, print_figures, run
from evaluation.bench.secure_curve import Point
from evaluation.bench.secure_session import Setting
from evaluation.cli import bench
from model.network import SMALL
from protocol.quantisation import Quantiser

TINY = Choices(vector_length=400, small_cohort=20, large_cohort=48, repeats=2, large_repeats=1)


class FakeFlower:
    """Ten seconds a session."""

    def run(self) -> float:
        return 10.0


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """What Flower was started with."""
    started: list[Setting] = []

    @contextmanager
    def fake(setting: Setting, python: Path) -> Iterator[FakeFlower]:
        assert python == Path("flower")
        started.append(setting)
        yield FakeFlower()

    monkeypatch.setattr(secure_aggregation, "flower_server", fake)
    return started


def test_all_figures_of_one_run(settings: list[Setting]) -> None:
    figures = run(TINY, flower=Path("flower"), console=Console(file=io.StringIO()))
    assert settings == [TINY.compared]
    assert (figures.name, figures.unit, figures.reference) == ("secure-aggregation", "CPU s", 10.0)
    assert figures.ratio == figures.value / figures.reference < 0.1
    assert len(figures.service.ours.values) == 2
    assert all(measure.limit is None for measure in figures.measures)
    # A session this small may fit memory that the process had already: only what is no memory must be above zero.
    assert all(measure.value > 0 for measure in figures.measures if measure.unit not in ("MB", "kB"))
    assert all(math.isfinite(measure.value) for measure in figures.measures)
    assert figures.curve == ()
    assert figures.stages["unmask"] > 0
    assert {"name", "value", "unit", "reference", "ratio"} <= msgspec.json.decode(msgspec.json.encode(figures)).keys()
    shown = io.StringIO()
    print_figures(figures, Console(file=shown, width=200))
    assert all(measure.what in shown.getvalue() for measure in figures.measures)


def test_targets_are_of_the_full_size_and_of_the_issue() -> None:
    full = Choices()
    assert full.published.graph_size.degree == 30
    assert (full.compared.num_members, full.compared.num_dropped, full.compared.value_bits) == (128, 13, 16)
    assert full.small_updates.value_bits == 12
    assert full.vector_length == 1_422_250
    assert 2 * full.vector_length < full.plain_bytes < 2.01 * full.vector_length


def test_all_settings_leave_room_for_their_cohort() -> None:
    for setting in (Choices().compared, Choices().published, Choices().default, Choices().small_updates):
        quantiser = setting.quantiser
        assert isinstance(quantiser, Quantiser)
        assert quantiser.max_cohort == setting.num_members


@pytest.mark.parametrize(("value", "limit", "met"), [(1.0, 1.0, True), (1.1, 1.0, False), (9.0, None, True)])
def test_a_measure_is_held_against_its_limit(value: float, limit: float | None, met: bool) -> None:
    assert Measure(what="x", value=value, unit="s", limit=limit).is_met is met


def test_the_command_writes_the_curve_and_prints_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Choices, Path | None]] = []
    sides = Spread(median=1.0, iqr=0.0, values=(1.0, 1.0))
    service = Result(name="x", value=1, unit="s", reference=2, ratio=0.5, ours=sides, theirs=sides, details={})

    def measured(choices: Choices, *, flower: Path | None, console: Console) -> Figures:
        asked.append((choices, flower))
        point = Point(
            mode="malicious",
            num_members=20,
            degree=18,
            threshold=14,
            client_cpu_s=1,
            client_bytes=1,
            service_cpu_s=1,
            service_peak_bytes=1,
        )
        return Figures(
            name="x",
            value=1,
            unit="s",
            reference=2,
            ratio=0.5,
            service=service,
            stages={},
            measures=(),
            curve=(point,) * len(choices.curve_sizes),
        )

    monkeypatch.setattr(secure_aggregation, "run", measured)
    for options in (["--curve", str(tmp_path), "--json"], ["--size", "small", "--repeats", "7", "--json"]):
        result = CliRunner().invoke(bench, ["secure-aggregation", *options])
        assert result.exit_code == 0, result.output
        assert msgspec.json.decode(result.stdout)["ratio"] == 0.5
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".png"}
    (full, flower), (small, _) = asked
    assert (full, flower) == (Choices(curve_sizes=(32, 128, 512, 1024, 4096)), None)
    assert small == Choices(vector_length=SMALL.num_weights, repeats=7)
