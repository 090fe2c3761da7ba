"""The comparison: same work or none, rivals that cannot be had, figures that follow from the measurements."""

import io
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from emulator.bench import fleet as module
from emulator.bench.answering import Round
from emulator.bench.fleet import DifferentWork, print_figures, require_same_work, run
from emulator.bench.local_work import Setting, lay_work
from emulator.bench.side import Side
from evaluation.bench.environment import NoEnvironment

SETTING = Setting(size="small", devices=4, words=40)
QUIET = Console(quiet=True)


def side(name, steps=12, norm=1.0):
    return Side(name, 4, None, None, None, last=Round(seconds=1.0, steps=steps, update_norm=norm))


@pytest.mark.parametrize("norm", [0.91, 1.0, 1.09])
def test_the_same_work_in_another_order_passes(norm):
    require_same_work([side("ours"), side("Flower", norm=norm)], 12)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (side("Flower", steps=11), "Flower must take 12 steps a round, got 11"),
        (side("Flower", norm=1.2), "Flower must move the model by 1 within a tenth, got 1.2"),
        (side("Flower", norm=float("nan")), "Flower must move the model by 1 within a tenth, got nan"),
    ],
)
def test_other_work_is_refused(other, told):
    with pytest.raises(DifferentWork, match=told):
        require_same_work([side("ours"), other], 12)


class StandIn:
    """A side that takes so many devices a minute."""

    def __init__(self, name, pace):
        self.name, self._pace, self.last = name, pace, None

    def run(self):
        self.last = Round(seconds=1.0, steps=8, update_norm=1.0)
        return self._pace


@pytest.fixture
def stand_ins(monkeypatch):
    @contextmanager
    def stand_in(name, *_, **__):
        yield StandIn(name, {"ours": 300.0, "simulation": 150.0, "flower-simulation": 50.0}[name])

    class Here:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def submit(self, *_):
            return self

        def result(self):
            return [2] * 4

    monkeypatch.setattr(module, "running_side", stand_in)
    monkeypatch.setattr(module, "Workers", lambda _: Here())


def test_figures_follow_from_what_was_measured(stand_ins):
    pythons = {"simulation": Path("a"), "flower-simulation": Path("b")}
    figures = run(SETTING, repeats=2, pythons=pythons, console=QUIET)
    assert (figures.value, figures.reference, figures.ratio) == (300.0, 150.0, 2.0)
    assert [(each.name, each.ratio, each.target) for each in figures.rivals] == [
        ("TensorFlow Federated", 2.0, 1.5),
        ("Flower", 6.0, 4.0),
    ]
    assert figures.details["steps a round"] == 8
    console = Console(width=120, file=io.StringIO())
    print_figures(figures, console)
    assert "6.00" in console.file.getvalue()


def test_a_rival_that_cannot_be_had_is_left_out_and_told(stand_ins, monkeypatch):
    def make(name):
        raise NoEnvironment(f"the environment of {name}.txt must be made")

    monkeypatch.setattr(module, "environment_python", make)
    figures = run(SETTING, repeats=2, pythons={"flower-simulation": Path("b")}, console=QUIET)
    assert [each.name for each in figures.rivals] == ["Flower"]
    assert figures.skipped == ("TensorFlow Federated is left out: the environment of simulation.txt must be made",)
    monkeypatch.setattr(module, "RIVALS", module.RIVALS[:1])
    alone = run(SETTING, repeats=2, pythons={}, console=QUIET)
    assert (alone.value, alone.reference, alone.ratio) == (300.0, None, None)


@pytest.mark.slow
def test_our_side_trains_real_devices_round_after_round(tmp_path):
    """Steps as laid, and a model that moves; the rivals' sides run where their environments are."""
    steps = sum(lay_work(SETTING, tmp_path))
    with module._our_side(SETTING, tmp_path) as ours:
        for _ in range(2):
            assert ours.run() > 0
            require_same_work([ours], steps)
            assert 0 < ours.last.update_norm <= SETTING.preset.l2_clip_norm
