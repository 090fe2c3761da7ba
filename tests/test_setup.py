"""Setting up says in one sentence what is missing, and costs nothing the second time."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def set_up(*arguments, path_first=None, **environment):
    path = f"{path_first}:{os.environ['PATH']}" if path_first else os.environ["PATH"]
    command = ["sh", str(ROOT / "requirements/setup.sh"), *map(str, arguments)]
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
