"""What a sweep found, typed: `simulation.json` is these structs, and the table shows nothing else."""

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from device_runtime.storage.files import write_atomically
from emulator.simulation.settings import RunSettings
from evaluation.metrics import Accuracy


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run.

    Attributes:
      settings: what set it apart.
      accuracy: of its last checkpoints' average on held-out people; None if its scores are not finite any more.
      lost_rounds: whose average was not finite, so that they changed nothing.
      seconds: wall time of its rounds.

    """

    settings: RunSettings
    accuracy: Accuracy | None
    lost_rounds: int
    seconds: float

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy of known words of held-out people, in nats; None if it is beyond what a float holds."""
        return None if self.accuracy is None else nats(self.accuracy)


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All runs of a sweep, and what they began from.

    Attributes:
      format_version: of this schema.
      preset: size of the network, and the plan.
      devices: people who train.
      held_out: people who are asked and never train.
      pretrained: accuracy before the first round.
      runs: in the order in which they were asked for.
      software: version by package.

    """

    format_version: Literal[1] = 1
    preset: str
    devices: int
    held_out: int
    pretrained: Accuracy
    runs: Annotated[tuple[RunOutcome, ...], msgspec.Meta(min_length=1)]
    software: dict[str, str]


def nats(accuracy: Accuracy) -> float | None:
    """The loss behind a perplexity."""
    return None if accuracy.perplexity is None else math.log(accuracy.perplexity)


def write_sweep(sweep: Sweep, folder: Path) -> Path:
    """Writes `simulation.json` into `folder`; returns its path."""
    path = folder / "simulation.json"
    _write(path, msgspec.json.format(msgspec.json.encode(sweep), indent=2) + b"\n")
    return path


def find_run(folder: Path, key: str) -> RunOutcome | None:
    """The run that was kept under `key`; None if there is none that can be read."""
    try:
        return msgspec.json.decode(_path(folder, key).read_bytes(), type=RunOutcome)
    except (FileNotFoundError, msgspec.DecodeError):  # an earlier format: it runs again
        return None


def keep_run(folder: Path, key: str, outcome: RunOutcome) -> None:
    """Keeps a finished run under `key`, whole or not at all."""
    _write(_path(folder, key), msgspec.json.encode(outcome))


def _path(folder: Path, key: str) -> Path:
    return folder / f"run-{key}.json"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content, durable=False)
