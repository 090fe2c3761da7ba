"""The running sum of a round's updates."""

import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocol.weights import FloatArray

SumArray = npt.NDArray[np.float64]


class SumTaken(Exception):
    """An update that came after the sum was taken, or a sum taken twice."""


class TakenSum(NamedTuple):
    """A finished sum: float64 [num_weights], and how many updates are in it."""

    total: SumArray
    num_updates: int


class SumAccumulator:
    """Adds up float32 updates in float64, in memory only.

    Guarantees:
      Thread-safe. Memory is one float64 vector, whatever the cohort; no single update outlives its `add`.
      The sum can be taken once, and nothing is added afterwards: what was released cannot be released again.
    """

    def __init__(self, num_weights: int) -> None:
        self._lock = threading.Lock()
        self._total: SumArray | None = np.zeros(num_weights, np.float64)
        self._count = 0

    def add(self, update: FloatArray) -> None:
        """Adds float32 [num_weights].

        Raises:
          SumTaken: the sum was taken.
          ValueError: of another shape.

        """
        with self._lock:
            if self._total is None:
                raise SumTaken("the sum was taken already")
            if update.shape != self._total.shape:
                raise ValueError(f"update must have shape {self._total.shape}, got {update.shape}")
            np.add(self._total, update, out=self._total)
            self._count += 1

    def take(self) -> TakenSum:
        """Hands over the sum and forgets it.

        Raises:
          SumTaken: at the second call.

        """
        with self._lock:
            if self._total is None:
                raise SumTaken("the sum was taken already")
            taken = TakenSum(self._total, self._count)
            self._total = None
            return taken
