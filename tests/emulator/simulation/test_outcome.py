import io
import math

import msgspec
import pytest
from rich.console import Console

from emulator.simulation.outcome import RunOutcome, Sweep, find_run, keep_run, write_sweep
from emulator.simulation.report import print_sweep
from emulator.simulation.settings import sweep_runs
from evaluation.metrics import Accuracy

RUNS = sweep_runs(
    aggregators=["mean", "gaussian", "tree"], noise_multipliers=[0.125], clip_norms=[1.0], learning_rates=[0.0625],
    server_optimizers=["momentum"], server_learning_rates=[None], rounds=100, cohort=1_000, seed=1,
)  # fmt: skip


def accuracy(top1, perplexity=100.0):
    return Accuracy(
        top1=top1, top3=0.3, keystroke_savings=0.2, perplexity=perplexity, num_targets=1_000, num_unknown=10
    )


def outcomes():
    found = [accuracy(0.11), None, accuracy(0.12, None)]
    return tuple(
        RunOutcome(settings=run, accuracy=each, lost_rounds=2, seconds=12.3)
        for run, each in zip(RUNS, found, strict=True)
    )


def sweep():
    return Sweep(
        preset="small", devices=4_567, held_out=119, pretrained=accuracy(0.07), runs=outcomes(), software={"x": "1"}
    )


def test_a_kept_run_is_found_again_under_its_key_alone(tmp_path):
    for number, outcome in enumerate(outcomes()):
        keep_run(tmp_path / "folder", f"{number:016x}", outcome)
    assert [find_run(tmp_path / "folder", f"{number:016x}") for number in range(3)] == list(outcomes())
    assert find_run(tmp_path / "folder", "f" * 16) is None
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"settings": 1}'])
def test_what_cannot_be_read_runs_again(tmp_path, content):
    keep_run(tmp_path, "0" * 16, outcomes()[0])
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert find_run(tmp_path, "0" * 16) is None


def test_the_report_says_all(tmp_path):
    path = write_sweep(sweep(), tmp_path)
    assert msgspec.json.decode(path.read_bytes(), type=Sweep) == sweep()


def test_the_loss_is_the_perplexitys_logarithm():
    known, diverged, beyond = outcomes()
    assert math.isclose(known.loss, math.log(100))
    assert diverged.loss is None
    assert beyond.loss is None


def test_the_table_shows_the_best_first_in_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    print_sweep(sweep(), console)
    lines = console.export_text().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)
    assert "100 rounds of 1000 of 4567 devices, small network; 119 held-out people" in lines[0]
    rows = [
        line.split() for line in lines if line.split() and line.split()[0] in {"before", "mean", "gaussian", "tree"}
    ]
    assert rows == [
        ["before", "7.00", "4.605"],
        ["tree", "0.125", "1", "0.0625", "momentum", "1", "12.00", "∞", "2", "12"],
        ["mean", "0", "1", "0.0625", "momentum", "1", "11.00", "4.605", "2", "12"],
        ["gaussian", "0.125", "1", "0.0625", "momentum", "1", "diverged", "∞", "2", "12"],
    ]
