"""Sweeps without their runs: what runs again and what does not. The runs themselves: `test_simulate.py`."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from emulator.simulation import sweep
from emulator.simulation.outcome import RunOutcome
from emulator.simulation.settings import sweep_runs
from emulator.simulation.sweep import HeldOut, run_sweep
from evaluation.answers import InvalidScores


@pytest.fixture(scope="module")
def ground(tensorflow_imported, make_ground):
    return make_ground()


def runs(*, learning_rates=(0.5, 1.0), rounds=2):
    return sweep_runs(
        aggregators=["mean"], noise_multipliers=[0.0], clip_norms=[1.0], learning_rates=learning_rates,
        server_optimizers=["momentum"], server_learning_rates=[None], rounds=rounds, cohort=5, seed=1,
    )  # fmt: skip


@pytest.fixture
def ran(monkeypatch):
    """Which runs ran, in order; each lasts no time."""
    seen = []

    def run_one(run, ground, examples, held_out, *, num_threads, on_round):
        seen.append(run)
        on_round()
        return RunOutcome(settings=run, accuracy=None, lost_rounds=0, seconds=1.0)

    monkeypatch.setattr(sweep, "run_one", run_one)
    return seen


@contextmanager
def no_bar(title, total):
    yield lambda: None


def swept(ground, wanted, folder: Path):
    return run_sweep("small", ground, wanted, folder=folder, num_threads=1, bar=no_bar)


def test_what_finished_never_runs_twice(ground, ran, tmp_path):
    first = swept(ground, runs(), tmp_path)
    assert ran == runs()
    assert swept(ground, runs(), tmp_path) == first
    assert ran == runs()
    wider = swept(ground, runs(learning_rates=(0.5, 0.7, 1.0)), tmp_path)
    assert ran == [*runs(), runs(learning_rates=(0.7,))[0]]
    assert [run.settings.learning_rate for run in wider.runs] == [0.5, 0.7, 1.0]


def test_an_interrupted_sweep_goes_on_where_it_was(ground, ran, tmp_path, monkeypatch):
    whole = sweep.run_one

    def interrupted(run, *arguments, **named):
        if run.learning_rate == 1.0:
            raise KeyboardInterrupt
        return whole(run, *arguments, **named)

    monkeypatch.setattr(sweep, "run_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swept(ground, runs(), tmp_path)
    monkeypatch.setattr(sweep, "run_one", whole)
    swept(ground, runs(), tmp_path)
    assert ran == runs()


def test_other_ground_runs_anew(ground, make_ground, ran, tmp_path):
    swept(ground, runs(), tmp_path)
    swept(make_ground(seed=2), runs(), tmp_path)
    assert ran == [*runs(), *runs()]


def test_devices_and_held_out_people_are_others(ground, ran, tmp_path):
    result = swept(ground, runs(), tmp_path)
    assert result.devices == len(ground.people.training)
    assert result.held_out == len(ground.people.held_out)
    assert not ground.people.training.keys() & ground.people.held_out.keys()


def test_weights_that_overflow_are_told_from_bad_ones(ground):
    held_out = HeldOut.of(ground)
    spoilt = {name: value + np.float32(np.nan) for name, value in ground.pretrained.items()}
    with pytest.raises(InvalidScores):
        held_out.accuracy(spoilt)
    assert sweep._accuracy(held_out, [spoilt]) is None
    assert sweep._accuracy(held_out, [ground.pretrained] * 2) == held_out.accuracy(ground.pretrained)
