import json

from click.testing import CliRunner

from evaluation.bench.suggest import make_release
from evaluation.cli import bench
from evaluation.corpus import Message
from model.network import NetworkShape


def test_train_step_prints_one_json_object() -> None:
    result = CliRunner().invoke(bench, ["train-step", "--size", "small", "--repeats", "2", "--json"])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    assert outcome["name"] == "train-step"
    assert outcome["unit"] == "ms"
    assert outcome["ratio"] == outcome["value"] / outcome["reference"]
    assert len(outcome["ours"]["values"]) == 2


def test_help_lists_the_benchmarks() -> None:
    shown = CliRunner().invoke(bench, ["--help"]).stdout
    assert all(name in shown for name in ("train-step", "suggest", "personalisation"))


def test_personalisation_prints_one_json_object(tmp_path, monkeypatch) -> None:
    make_release(tmp_path / "release", NetworkShape(vocabulary_size=200, embedding_size=8, num_units=12), seed=1)
    people = [Message(f"user {user}", float(minute), "we zorble again") for user in range(30) for minute in range(60)]
    monkeypatch.setattr("evaluation.corpus.load_chitchat", lambda: people)
    monkeypatch.setattr("evaluation.corpus.MAX_IDENTICAL", 60)
    options = ["--release", str(tmp_path / "release"), "--people", "2", "--json"]
    result = CliRunner().invoke(bench, ["personalisation", *options])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    assert outcome["name"] == "personalisation"
    assert outcome["people"] == 2
    assert outcome["value"] > outcome["reference"]
