import json
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
from click.testing import CliRunner

from evaluation.audit.cli import EXIT_CONTRADICTED, audit
from evaluation.audit.outcome import Audit


@pytest.fixture
def found(an_audit: Audit, monkeypatch: pytest.MonkeyPatch) -> Mock:
    run = Mock(return_value=an_audit)
    monkeypatch.setattr("evaluation.audit.cli._run", run)
    return run


def test_all_attacks_run_unless_some_are_named(found: Mock, tmp_path: Path) -> None:
    assert CliRunner().invoke(audit, ["--output", str(tmp_path)]).exit_code == 0
    assert found.call_args.args[2] == ("reconstruction", "secret-sharer", "membership")
    assert CliRunner().invoke(audit, ["membership", "--output", str(tmp_path)]).exit_code == 0
    assert found.call_args.args[2] == ("membership",)


def test_json_is_the_file(found: Mock, tmp_path: Path) -> None:
    result = CliRunner().invoke(audit, ["--output", str(tmp_path), "--json"])
    assert json.loads(result.stdout) == json.loads((tmp_path / "audit.json").read_bytes())
    assert (tmp_path / "audit.html").exists()


def test_more_than_was_proven_ends_with_status_3_and_says_so(found: Mock, an_audit: Audit, tmp_path: Path) -> None:
    arm = msgspec.structs.replace(an_audit.membership[0], proven=3.0)
    found.return_value = msgspec.structs.replace(an_audit, membership=(arm,))
    result = CliRunner().invoke(audit, ["--output", str(tmp_path)])
    assert result.exit_code == EXIT_CONTRADICTED == 3
    assert "Error: independent noise leaks more than was proven" in result.output
    assert (tmp_path / "audit.json").exists()


def test_choices_reach_the_settings(found: Mock, tmp_path: Path) -> None:
    options = [
        "--noise-multiplier",
        "2.5",
        "--seed",
        "9",
        "--canaries",
        "200",
        "--noise-share",
        "0.5",
        "--output",
        str(tmp_path),
    ]
    assert CliRunner().invoke(audit, options).exit_code == 0
    settings = found.call_args.args[0]
    assert (settings.noise_multiplier, settings.rehearsal.seed, settings.membership.canaries) == (2.5, 9, 200)
    assert settings.membership.noise_share == 0.5


@pytest.mark.parametrize("options", [["typo"], ["--noise-multiplier", "0"], ["--noise-multiplier", "1e9"]])
def test_wrong_choices_are_usage_errors(options: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(audit, [*options, "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
