"""Devices trained a minute: our emulated devices, TensorFlow Federated's simulation, and Flower's.

All do the same local work on the same cores and take turns; between its turns a side waits. Ours alone has devices: a
typing log on disk, an agent, TFLite, HTTP to the real service. After the first turn, which counts for nobody, all must
have taken as many steps and have moved the model as far.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from emulator.bench.local_work import BATCHES_FILE, WEIGHTS_FILE, Setting, lay_work
from emulator.bench.side import Side, running_side
from evaluation.bench.environment import NoEnvironment, environment_python
from evaluation.bench.runner import Spread, progress, take_turns
from evaluation.workers import Workers

NAME = "fleet"
UNIT = "devices a minute"
_NORMS_WITHIN = 0.1


class Rival(NamedTuple):
    """Whom we are measured against.

    Attributes:
      name: of the product.
      lock: of its environment, in `requirements/`.
      module: of its side.
      target: our devices a minute over its, at least.

    """

    name: str
    lock: str
    module: str
    target: float


RIVALS = (
    Rival("TensorFlow Federated", "simulation", "emulator.bench.tff_side", 1.5),
    Rival("Flower", "flower-simulation", "emulator.bench.flower_side", 4.0),
)


class DifferentWork(Exception):
    """The sides do not do the same work, so comparing their times would mean nothing."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A rival's figures.

    Attributes:
      name: of the product.
      value: its median, devices a minute.
      ratio: our median over its: above 1 we are quicker.
      target: that the ratio is to reach.
      spread: all of its turns.

    """

    name: str
    value: float
    ratio: float
    target: float
    spread: Spread


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures; the first five are ours against the first rival's. More is better.

    Attributes:
      name: of the benchmark.
      value: our median.
      unit: of `value` and `reference`.
      reference: the first rival's median; None if no rival could be had.
      ratio: `value` over `reference`.
      ours: all of our turns.
      rivals: those that could be had.
      skipped: why others could not.
      details: settings that bear on the figures.

    """

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    ours: Spread
    rivals: tuple[Measured, ...]
    skipped: tuple[str, ...]
    details: dict[str, str | int | float]


def run(setting: Setting, *, repeats: int, pythons: Mapping[str, Path], console: Console) -> Figures:
    """Measures all sides that can be had.

    Args:
      setting: what all do.
      repeats: turns that count, at least 2.
      pythons: the Python of a rival's environment, by the name of its lock; without it, one is made and kept.
      console: shows the progress.

    Raises:
      DifferentWork, SideFailed: see there.

    """
    with console.status("making environments and work"):
        found, skipped = _find_rivals(pythons)
    with TemporaryDirectory(prefix="keychorus-fleet-") as name, ExitStack() as stack:
        folder = Path(name)
        with console.status("laying the work"), Workers(1) as worker:
            steps = sum(worker.submit(lay_work, setting, folder).result())
        with console.status("starting the sides"):
            ours = stack.enter_context(_our_side(setting, folder))
            sides = [ours, *(stack.enter_context(_side(rival, python, setting, folder)) for rival, python in found)]
        on_turn = stack.enter_context(progress(NAME, repeats + 1, console))

        def turned() -> None:
            require_same_work(sides, steps)
            on_turn()

        mine, *others = take_turns(sides, repeats=repeats, on_turn=turned)
    measured = [_measured(rival, mine, theirs) for (rival, _), theirs in zip(found, others, strict=True)]
    return _figures(setting, steps, mine, measured, skipped)


def require_same_work(sides: list[Side], steps: int) -> None:
    """Checks the newest rounds of all sides against each other.

    Args:
      sides: ours first; each has answered.
      steps: that a round must take.

    Raises:
      DifferentWork: other steps, or a model moved by more than a tenth more or less than ours.

    """
    first = sides[0].last
    for side in sides:
        if side.last is None or first is None:
            raise DifferentWork(f"{side.name} must have answered, it has not")
        if side.last.steps != steps:
            raise DifferentWork(f"{side.name} must take {steps} steps a round, got {side.last.steps}")
        if not abs(side.last.update_norm / first.update_norm - 1) <= _NORMS_WITHIN:  # also refuses NaN
            raise DifferentWork(
                f"{side.name} must move the model by {first.update_norm:.4g} within a tenth, "
                f"got {side.last.update_norm:.4g}"
            )


def print_figures(figures: Figures, console: Console) -> None:
    """Prints all figures as a table."""
    table = Table("", title=f"{NAME}: {figures.unit}", title_justify="left")
    for column in ("median", "least", "most", "ours over it", "target"):
        table.add_column(column, justify="right")
    table.add_row("ours, real devices", *_cells(figures.ours), "", "")
    for rival in figures.rivals:
        table.add_row(rival.name, *_cells(rival.spread), f"{rival.ratio:.2f}", f"{rival.target:g}")
    console.print(table)
    for why in figures.skipped:
        console.print(why)
    console.print(", ".join(f"{name}: {value}" for name, value in figures.details.items()), style="dim")


def _cells(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.median:.1f}", f"{min(spread.values):.1f}", f"{max(spread.values):.1f}"


def _find_rivals(pythons: Mapping[str, Path]) -> tuple[list[tuple[Rival, Path]], list[str]]:
    found, skipped = [], []
    for rival in RIVALS:
        try:
            found.append((rival, pythons.get(rival.lock) or environment_python(rival.lock)))
        except NoEnvironment as error:
            skipped.append(f"{rival.name} is left out: {error}")
    return found, skipped


@contextmanager
def _our_side(setting: Setting, folder: Path) -> Iterator[Side]:
    command = [sys.executable, "-m", "emulator.bench.our_side", msgspec.json.encode(setting).decode(), str(folder)]
    with running_side("ours", command, folder, devices=setting.devices) as side:
        yield side


@contextmanager
def _side(rival: Rival, python: Path, setting: Setting, folder: Path) -> Iterator[Side]:
    """Flower's side can read no setting of ours: it is told what a client needs."""
    told = {
        **msgspec.structs.asdict(setting),
        "learning_rate": setting.training.learning_rate,
        "l2_clip_norm": setting.preset.l2_clip_norm,
        "weights": WEIGHTS_FILE,
        "batches": BATCHES_FILE,
    }
    command = [str(python), "-m", rival.module, msgspec.json.encode(told).decode(), str(folder)]
    with running_side(rival.lock, command, folder, devices=setting.devices) as side:
        yield side


def _measured(rival: Rival, mine: Spread, theirs: Spread) -> Measured:
    ratio = mine.median / theirs.median
    return Measured(name=rival.name, value=theirs.median, ratio=ratio, target=rival.target, spread=theirs)


def _figures(setting: Setting, steps: int, mine: Spread, rivals: list[Measured], skipped: list[str]) -> Figures:
    training = setting.training
    first = rivals[0] if rivals else None
    return Figures(
        name=NAME,
        value=mine.median,
        unit=UNIT,
        reference=None if first is None else first.value,
        ratio=None if first is None else first.ratio,
        ours=mine,
        rivals=tuple(rivals),
        skipped=tuple(skipped),
        details={
            "devices": setting.devices,
            "words a device": setting.words,
            "parameters": setting.preset.shape.num_weights,
            "batch": f"{training.batch_size} x {training.sequence_length}",
            "steps a round": steps,
            "workers": setting.workers,
            "our runtime": setting.runtime,
        },
    )
