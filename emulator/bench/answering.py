"""How a side of the benchmark is asked: a line on its standard input for a round, a JSON object back for each.

Plain Python, for this half of the conversation also runs where little of the project's is installed.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a side.

    Attributes:
      seconds: wall time, from the question until the new model is there.
      steps: that all devices took together.
      update_norm: L2 norm of what the round changed of the model: equal work gives nearly equal norms.

    """

    seconds: float
    steps: int
    update_norm: float


class Asked:
    """The side's end. Whatever else the process prints goes to standard error."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="ascii")
        os.dup2(2, 1)

    def again(self) -> bool:
        """Waits until another round is asked for, or no more."""
        return bool(sys.stdin.readline())

    def answer(self, done: Round) -> None:
        """Gives the round that was asked for."""
        self._answers.write(json.dumps(asdict(done)) + "\n")
        self._answers.flush()
