import sys
from pathlib import Path

import pytest

from evaluation.bench.environment import environment_python
from evaluation.bench.flower.server import FlowerFailed, flower_server
from evaluation.bench.secure_session import Setting

SETTING = Setting(num_members=24, vector_length=300, mode="semi_honest")


def fake_python(folder: Path, answer: str) -> Path:
    """A program in Python's place that answers each line with `answer`, and keeps what it was called with."""
    path = folder / "python"
    program = f"import pathlib, sys\npathlib.Path({str(folder / 'called')!r}).write_text(sys.argv[2])\n"
    program += f"for _ in sys.stdin:\n    print({answer!r}, flush=True)\n"
    path.write_text(f"#!{sys.executable}\n{program}")
    path.chmod(0o755)
    return path


def test_flower_is_given_the_same_session(tmp_path: Path) -> None:
    python = fake_python(tmp_path, '{"cpu_s": 2.5, "error": 0.1, "step": 0.2}')
    with flower_server(SETTING, python) as server:
        assert [server.run(), server.run()] == [2.5, 2.5]
    called = (tmp_path / "called").read_text()
    degree, threshold = SETTING.graph_size
    assert f'"num_members":24,"num_dropped":2,"degree":{degree},"threshold":{threshold}' in called


def test_an_average_that_is_off_fails_the_run(tmp_path: Path) -> None:
    python = fake_python(tmp_path, '{"cpu_s": 2.5, "error": 0.3, "step": 0.2}')
    with flower_server(SETTING, python) as server, pytest.raises(FlowerFailed, match=r"must be within 0\.2"):
        server.run()


@pytest.mark.parametrize("answer", ["", "oops", '{"cpu_s": 1}'])
def test_no_answer_fails_the_run(tmp_path: Path, answer: str) -> None:
    with (
        flower_server(SETTING, fake_python(tmp_path, answer)) as server,
        pytest.raises(FlowerFailed, match="must answer"),
    ):
        server.run()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_flower_itself_finds_the_average_again_and_again(tmp_path: Path) -> None:
    with flower_server(SETTING, environment_python("flower", tmp_path / "flower")) as server:
        taken = [server.run() for _ in range(3)]
    assert min(taken) > 0.01
    assert max(taken) < 5 * min(taken)  # the clients' work, of the first run only, is not counted
