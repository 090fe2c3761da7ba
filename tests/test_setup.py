"""Setting up says in one sentence what is missing, and costs nothing the second time."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def set_up(*arguments, path_first=None, checkout=ROOT, **environment):
    path = f"{path_first}:{os.environ['PATH']}" if path_first else os.environ["PATH"]
    command = ["sh", str(checkout / "requirements/setup.sh"), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
    )


def program(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def refused(result, *words):
    assert result.returncode == 1
    assert result.stderr.startswith("keychorus: ")
    assert len(result.stderr.splitlines()) == 1
    assert all(word in result.stderr for word in words)


def test_an_unknown_role_is_named(tmp_path):
    refused(set_up("phone", tmp_path / "venv"), "phone", "workstation")


def test_another_python_is_named(tmp_path):
    python = program(tmp_path, "some-python", "echo 3.13")
    refused(set_up("device", tmp_path / "venv", PYTHON=str(python)), "3.11", "3.13")


def test_a_missing_venv_module_is_named(tmp_path):
    python = program(tmp_path, "some-python", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.11;; esac')
    refused(set_up("device", tmp_path / "venv", PYTHON=str(python)), "python3-venv")


def test_a_full_disk_is_named(tmp_path):
    program(tmp_path, "df", "printf 'head\\n/dev/x 100 90 10 90%% /\\n'")
    refused(set_up("device", tmp_path / "venv", path_first=tmp_path), "500 MB", "10 MB")


def test_a_second_time_costs_nothing(tmp_path):
    venv = ROOT / ".venv"
    if not (venv / ".keychorus-lock").exists():
        pytest.skip("only an environment that `make setup` made knows that it is complete")
    result = set_up("workstation", venv, PYTHON=str(program(tmp_path, "some-python", "exit 1")))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "keychorus"
version = "0.1.0"
[project.scripts]
keychorus = "keychorus.cli:main"
[tool.setuptools.packages.find]
include = ["keychorus*"]
"""


def make_checkout(folder, says):
    """A checkout of a project that needs only what builds it, and whose command says which source it is."""
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "requirements/setup.sh", folder / "requirements")
    for role in ("service", "workstation"):
        lock = (ROOT / f"requirements/{role}.txt").read_text()
        (folder / f"requirements/{role}.txt").write_text(lock[lock.index("\nsetuptools==") :].partition("    # via")[0])
    (folder / "pyproject.toml").write_text(PROJECT)
    for name in ("README.md", "LICENSE", "keychorus/__init__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    change(folder, says)
    return folder


def change(checkout, says):
    (checkout / "keychorus/cli.py").write_text(f"def main():\n    print({says!r})\n")


def said_by(venv):
    ran = subprocess.run([venv / "bin/keychorus"], capture_output=True, text=True, check=True, cwd="/")
    return ran.stdout.strip()


def installed(role, venv, checkout):
    """Whether setting up did anything."""
    result = set_up(role, venv, checkout=checkout)
    assert result.returncode == 0, result.stderr
    return "is ready" in result.stdout


@pytest.mark.slow
def test_a_service_changes_only_when_it_is_upgraded_and_then_it_does(tmp_path):
    venv, first = tmp_path / "venv", make_checkout(tmp_path / "first", says="one")
    assert [installed("service", venv, first) for _ in range(2)] == [True, False]
    change(first, says="two")
    assert said_by(venv) == "one", "an update of the checkout does not change what runs"
    assert installed("service", venv, first)
    assert said_by(venv) == "two"
    second = make_checkout(tmp_path / "second", says="three")
    assert installed("service", venv, second)
    assert not {"build", "keychorus.egg-info"} & {path.name for path in second.iterdir()}
    for checkout in (first, second):
        shutil.rmtree(checkout)
    assert said_by(venv) == "three", "no checkout is needed any more"


@pytest.mark.slow
def test_a_workstation_works_on_the_newest_checkout_itself(tmp_path):
    venv, first = tmp_path / "venv", make_checkout(tmp_path / "first", says="one")
    assert installed("workstation", venv, first)
    change(first, says="two")
    assert said_by(venv) == "two"
    assert not installed("workstation", venv, first)
    assert installed("workstation", venv, make_checkout(tmp_path / "second", says="three"))
    assert said_by(venv) == "three"


def test_what_is_copied_is_complete():
    """Templates, styles and units are installed only if pyproject.toml names them."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for init in ROOT.glob("*/__init__.py"):
        package = init.parent
        there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
        data = {path for path in there if path.name != "README.md"}
        assert data == {path for pattern in named.get(package.name, []) for path in package.glob(pattern)} & there
