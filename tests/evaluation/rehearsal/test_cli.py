import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluation.corpus import Message
from evaluation.rehearsal.attacks import TRIGGER, WORD
from evaluation.rehearsal.cli import rehearse


@pytest.fixture
def chats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough distinct words for the small network, little of everything else."""
    syllables = [first + vowel for first in "bdfgklmnprst" for vowel in "aeiou"]
    words = [*TRIGGER.split(), WORD, *(one + other for one in syllables for other in syllables)][:1_100]
    generator = random.Random(1)
    messages = [
        Message(f"user {user}", float(minute), " ".join(generator.choices(words, k=8)))
        for user in range(40)
        for minute in range(24)
    ]
    monkeypatch.setattr("evaluation.corpus.load_chitchat", lambda: messages)


def test_codec_leaves_a_report(tensorflow: None, chats: None, tmp_path: Path) -> None:
    options = [
        "codec",
        "--size",
        "small",
        "--rounds",
        "1",
        "--cohort",
        "5",
        "--workers",
        "0",
        "--output",
        str(tmp_path),
    ]
    result = CliRunner().invoke(rehearse, [*options, "--json"])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    assert [arm["name"] for arm in outcome["arms"]] == ["mean of float32", "secure, groups ≤ 128"]
    assert outcome == json.loads((tmp_path / "rehearsal.json").read_bytes())
    assert (tmp_path / "rehearsal.html").exists()


def test_a_cohort_without_devices_is_a_usage_error(chats: None, tmp_path: Path) -> None:
    options = ["--size", "small", "--cohort", "900", "--output", str(tmp_path)]
    result = CliRunner().invoke(rehearse, ["poisoning", *options])
    assert result.exit_code == 2
    assert "at least 900 devices for a cohort" in result.output
    assert "Traceback" not in result.output


def test_help_says_what_is_held_equal() -> None:
    shown = CliRunner().invoke(rehearse, ["poisoning", "--help"]).stdout
    assert "on the same cohorts" in " ".join(shown.split())
