import random

import pytest
from click.testing import CliRunner

from emulator.simulation import cli
from emulator.simulation.cli import simulate
from evaluation.corpus import Message


@pytest.fixture
def installed(monkeypatch):
    """As if TensorFlow Federated were there: what is refused before any run needs none."""
    monkeypatch.setattr(cli, "find_spec", lambda name: object())


@pytest.fixture
def chats(monkeypatch):
    generator = random.Random(1)
    messages = [
        Message(f"user {user}", float(minute), " ".join(generator.choices(["alpha", "beta", "gamma"], k=8)))
        for user in range(40)
        for minute in range(24)
    ]
    monkeypatch.setattr("evaluation.corpus.load_chitchat", lambda: messages)


def refused(*options):
    result = CliRunner().invoke(simulate, options)
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_without_tff_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    told = refused()
    assert told == (
        "Error: TensorFlow Federated is not installed: ./requirements/setup.sh simulation ~/keychorus-simulation"
    )


def test_help_has_examples():
    shown = CliRunner().invoke(simulate, ["--help"]).output
    assert "keychorus simulate --learning-rate 0.3,0.5,1" in shown
    assert "[average|momentum|adam],.." in shown


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--learning-rate", "0.3;0.5"], "must be numbers between commas, got '0.3;0.5'"),
        (["--clip", ""], "must be numbers between commas, got ''"),
        (["--aggregator", "mean,median"], "must be of mean, gaussian, tree, got median"),
        (["--learning-rate", "0"], "learning_rate must be a finite number > 0, got 0.0"),
        (["--noise-multiplier", "0.1"], "noise needs the aggregator gaussian or tree, got mean alone"),
        (["--cohort", "900"], "there must be at least 900 devices for a cohort"),
        (["--corpus", "absent.jsonl"], "absent.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(installed, chats, tmp_path, options, told):
    assert told in refused(*options, "--output", str(tmp_path / "output"))
    assert not (tmp_path / "output").exists()
