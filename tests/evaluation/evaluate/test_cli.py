import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

from evaluation.corpus import Message
from evaluation.evaluate.asking import ask
from evaluation.evaluate.cli import evaluate


@pytest.fixture
def corpus(messages: list[Message], tmp_path: Path) -> Path:
    path = tmp_path / "people.jsonl"
    rows = ({"user": each.user, "sent_at": each.sent_at, "text": each.text, "group": each.group} for each in messages)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def no_page() -> Iterator[None]:
    """Drawing takes longer than all the rest."""
    with patch("evaluation.evaluate.report.render_evaluation", return_value=""):
        yield


def invoke(corpus: Path, output: Path, *options: str) -> Result:
    few = ["--draws", "50", "--keystrokes", "5", "--held-out-share", "0.4"]
    return CliRunner().invoke(evaluate, ["--corpus", str(corpus), "--output", str(output), *few, *options])


def test_from_text_to_report_without_a_message_in_it(messages: list[Message], corpus: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("the of and\n" * 5, encoding="utf-8")
    options = ["--predictor", "unigram", "--predictor", "again=unigram", "--train", str(more), "--json"]
    result = invoke(corpus, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "report.json").read_bytes())
    shown = result.output + (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not any(message.text in shown for message in messages if len(message.text) > 20)
    assert [found["name"] for found in report["populations"]] == ["held_out", "trained"]
    assert report["corpora"] == ["people.jsonl"]
    assert report["training_corpora"] == ["more.txt"]
    assert report["settings"]["held_out_share"] == 0.4
    for found in report["populations"]:
        (comparison,) = found["comparisons"]
        assert comparison["differences"]["top1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert {each["name"] for each in found["predictors"][0]["by_group"]} == {"group 0", "group 1"}


@pytest.mark.usefixtures("no_page")
def test_a_second_run_asks_nobody_and_says_the_same(corpus: Path, tmp_path: Path) -> None:
    first = invoke(corpus, tmp_path, "--json")
    with patch("evaluation.evaluate.measuring.ask", side_effect=AssertionError("asked again")):
        second = invoke(corpus, tmp_path, "--json")
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout


@pytest.mark.usefixtures("no_page")
def test_an_interrupted_run_goes_on(corpus: Path, tmp_path: Path) -> None:
    asked = 0

    def interrupted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise KeyboardInterrupt
        return ask(*arguments)  # type: ignore[arg-type]

    with patch("evaluation.evaluate.measuring.ask", side_effect=interrupted):
        broken = invoke(corpus, tmp_path)
        assert broken.exit_code == 1
        assert "Aborted!" in broken.output
        assert invoke(corpus, tmp_path).exit_code == 0
    assert asked == 1 + 1 + 1  # a part of each population, the second one twice


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--predictor", "typo"], "a predictor must be one of unigram"),
        (["--predictor", "unigram", "--predictor", "unigram"], "distinct names"),
        (["--reference", "typo"], "reference must be one of unigram, got typo"),
        (["--max-messages", "5"], "max_messages must be >= min_messages 20, got 5"),
        (["--held-out-share", "1"], "held-out-share"),
        (["--draws", "0"], "draws"),
        (["--rounds", "."], "must hold checkpoints"),
    ],
)
def test_wrong_choices_are_usage_errors(corpus: Path, tmp_path: Path, options: Sequence[str], says: str) -> None:
    result = invoke(corpus, tmp_path, *options)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{}", "must be"), (b"", "a user with at least 20 messages"), (None, "cannot be read")],
)
def test_a_corpus_that_will_not_do_is_one_sentence(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "people.jsonl"
    if content is not None:
        path.write_bytes(content)
    result = invoke(path, tmp_path)
    assert result.exit_code == 1
    assert says in result.output
    assert result.output.strip().startswith("Error: ")
