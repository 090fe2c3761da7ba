"""The commands, on a network and a text as small as can be."""

import json

import pytest
from click.testing import CliRunner

from evaluation.evaluate.contestants import read_release
from evaluation.experiments.cli import experiment

pytestmark = pytest.mark.slow  # trains, and converts a training graph


@pytest.fixture
def corpus(tmp_path):
    """People who count, each from a number of their own: 1,000 words, each of which tells the next."""
    words = [a + b + c for a in "bcdfghjklm" for b in "aeiou" for c in "bcdfghjklmnpqrstvwxz"]
    rows = [
        {
            "user": f"user{user}",
            "sent_at": number,
            "text": " ".join(words[(53 * user + 7 * number + step) % 1000] for step in range(8)),
        }
        for user in range(40)
        for number in range(25)
    ]
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(experiment, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_from_text_to_a_table(corpus, tmp_path):
    folder = ("--folder", str(tmp_path / "book"))
    assert "people train on" in run("begin", *folder, "--size", "small", "--population", corpus)
    run("central", "pooled", *folder, "--epochs", "2", "--learning-rate", "0.01")
    federated = ("--start", "pooled", "--rounds", "4", "--cohort", "4", "--workers", "0", "--epsilon", "8")
    assert "noise multiplier" in run("federated", "rounds", *folder, *federated)
    shown = run("list", *folder)
    assert "pooled" in shown
    assert "rounds" in shown
    again = CliRunner().invoke(experiment, ["central", "pooled", *folder])
    assert again.exit_code == 1
    assert "ended already" in again.output
    entry = json.loads((tmp_path / "book" / "rounds" / "experiment.json").read_text())
    assert len(entry["curve"]) == 4
    assert entry["later"]["num_targets"] > 0
    run("release", "rounds", *folder)
    release = read_release(tmp_path / "book" / "rounds" / "release")
    assert release.vocabulary == (tmp_path / "book" / "vocabulary.model").read_bytes()
    assert len(release.predictor().suggest("")) == 3
    absent = CliRunner().invoke(experiment, ["release", "none", *folder])
    assert absent.exit_code == 1
    assert "experiment none" in absent.output
