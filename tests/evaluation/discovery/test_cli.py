import functools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluation.corpus import Message
from evaluation.discovery import run
from evaluation.rehearsal.cli import EXIT_CAME_OUT, rehearse
from protocol.discovery.parameters import DiscoveryParameters
from tokenizer.vocabulary import Vocabulary

SMALL = {"letters": "abcdehilnoprstuvxz", "steps": (2, 2, 2), "max_prefixes": 20}


@pytest.fixture
def options(
    messages: list[Message], vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Of a run on a corpus of made-up words, by three short levels."""
    small = functools.partial(DiscoveryParameters, **SMALL)
    monkeypatch.setattr("protocol.discovery.parameters.DiscoveryParameters", small)
    monkeypatch.setattr("model.public_words.public_vocabulary", lambda *_: vocabulary)
    rows = (json.dumps({"user": each.user, "sent_at": each.sent_at, "text": each.text}) for each in messages)
    corpus = tmp_path / "typed.jsonl"
    corpus.write_text("\n".join(rows), encoding="utf-8")
    chosen = ["--corpus", str(corpus), "--output", str(tmp_path / "out"), "--vocabulary-size", "200"]
    return ["words", *chosen, "--epsilon", "20", "--population", "20000", "--frequent", "60"]


def test_words_leaves_a_report_of_numbers(options: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(rehearse, [*options, "--json"])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    assert outcome == json.loads((tmp_path / "out" / "discovery.json").read_bytes())
    assert [arm["population"] for arm in outcome["arms"]] == [200, 20_000]
    assert outcome["corpus"] == "typed.jsonl"
    assert "zorbo" not in result.output


def test_something_of_one_person_is_a_failure(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "survival_threshold", lambda *_: 0.5)
    result = CliRunner().invoke(rehearse, options)
    assert result.exit_code == EXIT_CAME_OUT
    assert "of one person came out" in result.stderr


def test_wrong_choices_are_usage_errors(options: list[str]) -> None:
    result = CliRunner().invoke(rehearse, [*options, "--population", "10"])
    assert result.exit_code == 2
    assert "at least the 200 devices" in result.output
    assert "Traceback" not in result.output
