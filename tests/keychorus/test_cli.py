import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from keychorus import cli
from keychorus.cli import CONTENTS, Entry, main

ENTRIES = {name: entry for chapter in CONTENTS.values() for name, entry in chapter.items()}
ROOT = Path(__file__).parents[2]


def test_help_reads_like_a_table_of_contents() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    places = [result.stdout.index(f"\n{heading}:") for heading in CONTENTS]
    assert places == sorted(places)
    for name, entry in ENTRIES.items():
        assert f"  {name} " in result.stdout
        assert entry.help in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from keychorus.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"tensorflow", "numpy", "flask", "matplotlib", "sqlalchemy", "msgspec"}
    ours = {"emulator", "device_runtime", "aggregation_service", "model", "evaluation"}
    assert "click" in loaded
    assert not loaded & (heavy | ours)


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"keychorus {version('keychorus')}\n"


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_a_command_with_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: main {name}" in result.stdout


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_role_has_its_lock(entry: Entry) -> None:
    assert (ROOT / "requirements" / f"{entry.role}.txt").is_file()


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["sing"])
    assert result.exit_code == 2
    assert "No such command 'sing'" in result.stderr


def refuse(name: str) -> None:
    raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_a_missing_package_names_the_roles_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda _: refuse("matplotlib.figure"))
    result = CliRunner().invoke(main, ["bench"])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: keychorus bench needs the package matplotlib, which is not installed here: "
        "install the workstation role with pip install -r requirements/workstation.txt\n"
    )


def test_a_package_that_is_missed_while_a_command_runs_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    late = click.Command("service", callback=lambda: refuse("sqlalchemy"))
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: late)
    result = CliRunner().invoke(main, ["service"])
    assert result.exit_code == 1
    assert "requirements/service.txt" in result.stderr


def test_a_missing_module_of_ours_is_a_bug_and_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda _: refuse("emulator.fleet"))
    result = CliRunner().invoke(main, ["demo"])
    assert isinstance(result.exception, ModuleNotFoundError)
