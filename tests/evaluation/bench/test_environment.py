from pathlib import Path

import pytest

from evaluation.bench import environment
from evaluation.bench.environment import LOCKS, NoEnvironment, environment_python


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What was run to make an environment; nothing is."""
    found: list[tuple[str, ...]] = []

    def call(_: Path, *command: str) -> None:
        found.append(command)
        if command[2] == "venv":
            folder = Path(command[-1])
            (folder / "bin").mkdir(parents=True, exist_ok=True)
            (folder / "bin/python").touch()

    monkeypatch.setattr(environment, "_call", call)
    return found


def test_it_is_made_once_of_hashed_packages(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    python = environment_python("flower", tmp_path)
    assert python == tmp_path / "bin/python"
    assert len(calls) == 2
    assert {"--require-hashes", "--no-deps", str(LOCKS / "flower.txt")} <= set(calls[1])
    assert environment_python("flower", tmp_path) == python
    assert len(calls) == 2


def test_another_lock_is_another_environment(
    tmp_path: Path, calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment_python("flower", tmp_path / "env")
    lock = tmp_path / "flower.txt"
    lock.write_text("flwr==0")
    monkeypatch.setattr(environment, "LOCKS", tmp_path)
    environment_python("flower", tmp_path / "env")
    assert len(calls) == 4


def test_it_is_kept_in_the_users_cache(
    tmp_path: Path, calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment_python("flower") == tmp_path / "keychorus/flower/bin/python"
    assert calls


def test_what_cannot_be_made_is_told_in_the_installers_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.sys, "executable", "/bin/ls")
    with pytest.raises(NoEnvironment, match=r"it failed: .*ls"):
        environment_python("flower", tmp_path)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("flower", "flwr"),
        ("flower-simulation", "ray"),
        ("flower-simulation", "tensorflow"),
        ("simulation", "tensorflow-federated"),
        ("cluster", "ray"),
    ],
)
def test_locks_pin_packages_with_hashes(name: str, package: str) -> None:
    lock = (LOCKS / f"{name}.txt").read_text()
    assert f"\n{package}==" in lock
    assert lock.count("--hash=sha256:") > 100
