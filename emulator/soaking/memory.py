"""How memory grows with rounds: a common slope, and a level of its own for each process."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student  # type: ignore[import-untyped]

from emulator.soaking.processes import Resident
from evaluation.soak.outcome import MemorySample, MemorySlope

WARM_UP = 5
"""So many samples of each process are left out: it fills its caches first."""
_CONFIDENCE = 0.95


class _Sample(NamedTuple):
    rounds_ended: int
    found: Resident


class Memory:
    """Collects samples, one for each process and round."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []

    def note(self, rounds_ended: int, found: Sequence[Resident]) -> None:
        """Takes the sizes of all processes when so many rounds had ended."""
        self._samples += [_Sample(rounds_ended, each) for each in found]

    def totals(self) -> list[MemorySample]:
        """What processes of a role have together, by role and round."""
        sizes: dict[tuple[str, int], list[float]] = defaultdict(list)
        for rounds_ended, found in self._samples:
            sizes[found.role, rounds_ended].append(found.kilobytes)
        return [
            MemorySample(role=role, rounds_ended=rounds_ended, megabytes=sum(each) / 1000, processes=len(each))
            for (role, rounds_ended), each in sorted(sizes.items())
        ]

    def slopes(self) -> list[MemorySlope]:
        """The slope of each role that has enough samples."""
        roles = sorted({found.role for _, found in self._samples})
        return [slope for role in roles if (slope := self._slope(role)) is not None]

    def _slope(self, role: str) -> MemorySlope | None:
        lives: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for rounds_ended, found in self._samples:
            if found.role == role:
                lives[found.pid].append((rounds_ended, found.kilobytes))
        return fit_slope(role, [points[WARM_UP:] for points in lives.values()])


def fit_slope(role: str, lives: Sequence[Sequence[tuple[float, float]]]) -> MemorySlope | None:
    """Fits kilobytes = level of the process + slope x rounds, by least squares.

    Args:
      role: of the processes.
      lives: for each process its points, rounds and kilobytes.

    Returns:
      The slope and its interval, by Student's t; None where points are too few, or all of one round.

    """
    lives = [points for points in lives if len(points) > 1]
    centred = [np.asarray(points, np.float64) - np.mean(points, axis=0) for points in lives]
    rounds, sizes = np.concatenate(centred).T if centred else np.zeros((2, 0))
    freedom, spread = len(rounds) - len(lives) - 1, float(rounds @ rounds)
    if freedom < 1 or spread == 0:
        return None
    slope = float(rounds @ sizes) / spread
    error = float(np.sqrt(np.sum((sizes - slope * rounds) ** 2) / freedom / spread))
    reach = float(student.ppf(0.5 + _CONFIDENCE / 2, freedom)) * error
    return MemorySlope(
        role=role,
        kb_per_round=slope,
        low=slope - reach,
        high=slope + reach,
        samples=len(rounds),
        processes=len(lives),
    )
