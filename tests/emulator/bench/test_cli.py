import msgspec
import pytest
from click.testing import CliRunner

from emulator.bench import fleet as module
from emulator.bench.cli import bench
from emulator.bench.fleet import DifferentWork, Figures
from emulator.bench.local_work import Setting
from evaluation.bench.runner import spread

FIGURES = Figures(
    name="fleet",
    value=200.0,
    unit="devices a minute",
    reference=100.0,
    ratio=2.0,
    ours=spread([199.0, 200.0, 201.0]),
    rivals=(),
    skipped=("Flower is left out: no disk",),
    details={"devices": 8},
)


@pytest.fixture
def asked(monkeypatch):
    found = []

    def run(setting, **options):
        found.append((setting, options))
        return FIGURES

    monkeypatch.setattr(module, "run", run)
    return found


def test_all_benchmarks_are_in_one_group():
    shown = CliRunner().invoke(bench, ["--help"]).output
    assert all(name in shown for name in ("fleet", "train-step", "secure-aggregation"))
    assert (
        "keychorus bench fleet --devices 16 --repeats 2 --json" in CliRunner().invoke(bench, ["fleet", "--help"]).output
    )


def test_json_is_one_object_with_what_every_benchmark_tells(asked):
    result = CliRunner().invoke(bench, ["fleet", "--devices", "8", "--words", "50", "--size", "small", "--json"])
    assert msgspec.json.decode(result.stdout, type=Figures) == FIGURES
    setting, options = asked[0]
    assert setting == Setting(devices=8, words=50, size="small")
    assert (options["repeats"], options["pythons"]) == (3, {})


def test_people_see_what_was_left_out(asked):
    assert "Flower is left out: no disk" in CliRunner().invoke(bench, ["fleet"]).stdout


def test_other_work_is_one_sentence(monkeypatch):
    def run(*_, **__):
        raise DifferentWork("Flower must take 8 steps a round, got 7")

    monkeypatch.setattr(module, "run", run)
    result = CliRunner().invoke(bench, ["fleet"])
    assert result.exit_code == 1
    assert result.output == "Error: Flower must take 8 steps a round, got 7\n"
