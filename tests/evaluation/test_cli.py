import json

from click.testing import CliRunner

from evaluation.cli import bench


def test_train_step_prints_one_json_object() -> None:
    result = CliRunner().invoke(bench, ["train-step", "--size", "small", "--repeats", "2", "--json"])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    assert outcome["name"] == "train-step"
    assert outcome["unit"] == "ms"
    assert outcome["ratio"] == outcome["value"] / outcome["reference"]
    assert len(outcome["ours"]["values"]) == 2


def test_help_lists_the_benchmarks() -> None:
    assert "train-step" in CliRunner().invoke(bench, ["--help"]).stdout
