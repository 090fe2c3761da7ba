"""Federated recall, as evaluation rounds measured it on devices."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from aggregation_service.dashboard.views.rounds import RoundView
from aggregation_service.releases.gate import EvaluationResult

LINES = {
    "candidate, first suggestion": "top1_candidate",
    "candidate, among three": "top3_candidate",
    "release in use, first suggestion": "top1_baseline",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallView:
    """What evaluation rounds measured.

    Attributes:
      rounds: the evaluation rounds, oldest first.
      measured: each line's share of words in each round; None where it was unreadable.
      standard_error: of the newest gain over the release in use, from the noise alone; None where none was readable.

    """

    rounds: tuple[RoundView, ...] = ()
    measured: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    standard_error: float | None = None

    @property
    def is_readable(self) -> bool:
        """Whether any round found more than its noise."""
        return self.standard_error is not None


def read_recalls(found: Sequence[RoundView]) -> RecallView:
    """Reads what the evaluation rounds among `found` measured."""
    evaluated = tuple(one for one in found if one.result is not None)
    results = [msgspec.json.decode(one.result or "", type=EvaluationResult) for one in evaluated]
    errors = [result.standard_error for result in results if result.standard_error is not None]
    return RecallView(
        rounds=evaluated,
        measured={name: tuple(_value(result, column) for result in results) for name, column in LINES.items()},
        standard_error=errors[-1] if errors else None,
    )


def _value(result: EvaluationResult, column: str) -> float | None:
    if column.endswith("baseline") and result.baseline_version is None:
        return None
    value: float | None = getattr(result, column)
    return value
