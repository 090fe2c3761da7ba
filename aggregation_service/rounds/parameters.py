"""What an operator chooses about a round beside what the plan says.

The report goal and the minimum separation change privacy and stand in the plan (`protocol.plan.PrivacyParameters`),
signed and checked by the device. What stands here changes only how long a round takes, how often it succeeds, and how
well it holds out against hostile updates.
"""

import math
from dataclasses import dataclass, field

from aggregation_service.privacy.adaptive_clipping import ClippingParameters
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.privacy.mechanisms.sensitivity import MOST_ROUNDS
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
      mechanism: how the noise of the task's training rounds is correlated; it adds to the mean only.
      separation_rounds: of correlated noise: a device's next report comes so many steps of the stream later, at least.
      max_participations: of correlated noise: how many reports of one device the stream may have; 0 for no limit.
      adaptive_clipping: how the clipping norm follows the updates' norms, from the plan's on; None to keep that.

    Raises:
      ValueError: a parameter out of its bound, or one that does not go with the mechanism.

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
    mechanism: Mechanism = field(default_factory=Independent)
    separation_rounds: int = 1
    max_participations: int = 0
    adaptive_clipping: ClippingParameters | None = None

    def __post_init__(self) -> None:
        _require("minimum_reports", self.minimum_reports, 1, 10_000_000)
        _require("over_selection", self.over_selection, 1, 10)
        _require("min_examples", self.min_examples, 0, 10_000_000)
        _require("selection_timeout_s", self.selection_timeout_s, 1, 7 * 24 * 3600)
        _require("report_deadline_s", self.report_deadline_s, 1, 7 * 24 * 3600)
        _require("gather_s", self.gather_s, 0, 7 * 24 * 3600)
        _require("stage_timeout_s", self.stage_timeout_s, 1, 24 * 3600)
        _require("poll_s", self.poll_s, 1, 3600)
        # Fresh noise costs the same however far apart a device's reports are: a limit would promise nothing.
        is_correlated = not isinstance(self.mechanism, Independent)
        _require("separation_rounds", self.separation_rounds, 1, MOST_ROUNDS if is_correlated else 1)
        _require("max_participations", self.max_participations, 0, MOST_ROUNDS if is_correlated else 0)
        if is_correlated and not isinstance(self.combining, Mean):
            raise ValueError(f"combining must be the mean for correlated noise, got the {self.combining.name}")
        if self.adaptive_clipping is not None and not isinstance(self.combining, Mean):
            raise ValueError(f"combining must be the mean for adaptive clipping, got the {self.combining.name}")
        if (
            self.adaptive_clipping is not None and is_correlated
        ):  # a norm that changes would change the unit of its noise
            raise ValueError("noise must be independent for adaptive clipping, got correlated noise")

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
