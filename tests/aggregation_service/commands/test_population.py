from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aggregation_service import audit, operations
from aggregation_service.cli import service
from aggregation_service.config import load_config
from aggregation_service.operations.shared import opened
from aggregation_service.policy import PopulationPolicy


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    return operations.initialise(tmp_path / "service").config_path


def run(config_path: Path, *words: str) -> Result:
    return CliRunner().invoke(service, ["population", *words, "--config", str(config_path)])


def policy(config_path: Path, name: str) -> PopulationPolicy:
    return operations.get_policy(load_config(config_path), name)


def test_populations_and_their_policies(config_path: Path) -> None:
    assert run(config_path, "add", "en-gb").exit_code == 0
    added = run(config_path, "add", "de-de", "--enrolment", "open", "--epsilon-budget", "8", "--gate-margin", "-0.01")
    assert added.exit_code == 0, added.output
    assert policy(config_path, "en-gb") == PopulationPolicy()
    assert policy(config_path, "de-de") == PopulationPolicy(enrolment="open", epsilon_budget=8.0, gate_margin=-0.01)
    rest = "gate_standard_errors 1.645  keep_checkpoints 64"
    assert run(config_path, "list").output == (
        f"de-de  enrolment open  epsilon_budget 8.0  gate_margin -0.01  {rest}\n"
        f"en-gb  enrolment token  epsilon_budget none  gate_margin none  {rest}\n"
    )


def test_only_what_is_named_changes_and_the_audit_log_has_both(config_path: Path) -> None:
    run(config_path, "add", "en-gb", "--epsilon-budget", "8", "--gate-margin", "0.001")
    assert run(config_path, "policy", "en-gb", "--enrolment", "attestation").exit_code == 0
    words = ("--epsilon-budget", "none", "--keep-checkpoints", "9", "--gate-standard-errors", "0")
    changed = run(config_path, "policy", "en-gb", *words)
    assert changed.output == (
        "en-gb  enrolment attestation  epsilon_budget none  gate_margin 0.001  gate_standard_errors 0.0"
        "  keep_checkpoints 9\n"
    )
    assert run(config_path, "policy", "en-gb").output == changed.output
    with opened(load_config(config_path)) as database, database.read() as connection:
        entries = audit.list_entries(connection)
        assert audit.verify(connection) == 3  # to look is not to change
    old, new = entries[0].details["old"], entries[0].details["new"]
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert (old["epsilon_budget"], new["epsilon_budget"]) == (8.0, None)
    assert {entry.actor for entry in entries} == {audit.machine_actor()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "EN"), "a population's name must be of a-z"),
        (("add", "en-gb"), "population en-gb exists already"),
        (("policy", "de-de"), "there is no population de-de"),
        (("policy", "en-gb", "--epsilon-budget", "0"), "Expected `float` > 0"),
        (("policy", "en-gb", "--keep-checkpoints", "0"), "Expected `int` >= 1"),
        (("policy", "en-gb", "--keep-checkpoints", "1.5"), "Expected `int | null`"),
        (("policy", "en-gb", "--epsilon-budget", "much"), "'much' is not a valid float"),
        (("policy", "en-gb", "--enrolment", "all"), "'all' is not one of 'open', 'token', 'attestation'"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(config_path: Path, words: tuple[str, ...], said: str) -> None:
    run(config_path, "add", "en-gb")
    done = run(config_path, *words)
    assert done.exit_code != 0
    assert said in done.output
    assert policy(config_path, "en-gb") == PopulationPolicy()
