"""What an operator chooses about a round beside what the plan says.

The report goal and the minimum separation change privacy and stand in the plan (`protocol.plan.PrivacyParameters`),
signed and checked by the device. What stands here changes only how long a round takes, how often it succeeds, and how
well it holds out against hostile updates.
"""

import math
from dataclasses import dataclass, field

from aggregation_service.rounds.combining import Combining, Mean
from aggregation_service.rounds.pace import GATHER_SHARE


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundParameters:
    """Frozen with its task.

    Attributes:
      minimum_reports: a round whose deadline passes with fewer is abandoned.
      over_selection: devices selected per report wanted, >= 1, because 6-10 % vanish and the slowest hold up the rest.
      min_examples: a device that holds fewer examples is not selected.
      selection_timeout_s: after this long a round stops selecting.
      report_deadline_s: how long each selected device has to report, at least.
      gather_s: of secure aggregation: after this long a device that waits for a group need not wait until it is full.
      stage_timeout_s: how long each stage of a group waits for those that do not answer.
      poll_s: after how long a member that waits for the others asks again.
      combining: how plain updates become one; tasks from before there was a choice have the mean.

    Raises:
      ValueError: a parameter out of its bound.

    Source: Bonawitz et al. 2019, arXiv 1902.01046, sections 2.2 and 9 (130 % over-selection).

    """

    minimum_reports: int
    over_selection: float = 1.3
    min_examples: int = 1
    selection_timeout_s: float = 600.0
    report_deadline_s: float = 600.0
    gather_s: float = 30.0
    stage_timeout_s: float = 60.0
    poll_s: int = 2
    combining: Combining = field(default_factory=Mean)

    def __post_init__(self) -> None:
        _require("minimum_reports", self.minimum_reports, 1, 10_000_000)
        _require("over_selection", self.over_selection, 1, 10)
        _require("min_examples", self.min_examples, 0, 10_000_000)
        _require("selection_timeout_s", self.selection_timeout_s, 1, 7 * 24 * 3600)
        _require("report_deadline_s", self.report_deadline_s, 1, 7 * 24 * 3600)
        _require("gather_s", self.gather_s, 0, 7 * 24 * 3600)
        _require("stage_timeout_s", self.stage_timeout_s, 1, 24 * 3600)
        _require("poll_s", self.poll_s, 1, 3600)

    @property
    def beat_s(self) -> float:
        """The beat at which small populations gather.

        So much shorter than the selection that a round which a straggler opens between two beats is still selecting
        when the others call: at the next beat, or within `pace.GATHER_SHARE` of it.
        """
        return self.selection_timeout_s / (1 + 1.1 * GATHER_SHARE)

    def cohort_size(self, report_goal: int) -> int:
        """Devices to select so that `report_goal` of them report.

        >>> RoundParameters(minimum_reports=1, over_selection=1.1).cohort_size(100)
        110
        """
        return math.ceil(round(report_goal * self.over_selection, 6))  # 100 * 1.1 is a little above 110


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{name} must be between {low} and {high}, got {value}")
