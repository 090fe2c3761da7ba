"""The noise on a task's sums: as large as its plan says, on the finest grid, and what the ledger says of it."""

from dataclasses import dataclass

from aggregation_service.privacy.grid_noise import Grid, finest_grid, one_report_bound, stream_bound
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism
from aggregation_service.privacy.mechanisms.rounding import rounding_steps
from aggregation_service.rounds.parameters import RoundParameters
from protocol.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class SumNoise:
    """The noise of one round, and how far one device moves what it is added to; the same for all rounds of a task.

    Attributes:
      grid: that sums are rounded to; None without noise, where sums stay as they are.
      size: coordinates of a sum.
      one_report: how far one report moves the sum at most, L2 norm, in units of weight change.

    """

    grid: Grid | None
    size: int
    one_report: float

    @property
    def noise_multiplier(self) -> float:
        """Of fresh noise: its deviation in units of `one_report`; 0 without noise."""
        return self._multiplier(self.one_report)

    def in_stream(self, mechanism: Mechanism, rounds: int) -> tuple[float, float]:
        """What the ledger says of a stream's newest step.

        Args:
          mechanism: of the stream; fresh noise is none, so that every sum stands for itself.
          rounds: steps so far, this one included, >= 1.

        Returns:
          The noise multiplier, and the norm that it is a multiple of: `one_report`, and what rounding the recalled
          noise of all steps adds. A stream's sensitivity is 1 at least, so this norm times the sensitivity is never
          below `stream_bound`.

        Raises:
          ValueError: more rounds than any stream may have.

        """
        if self.grid is None or isinstance(mechanism, Independent):
            return self.noise_multiplier, self.one_report
        norm = stream_bound(
            self.grid,
            sensitivity=1.0,
            one_report=self.one_report,
            size=self.size,
            rounds=rounds,
            rounding_steps=rounding_steps(mechanism, rounds=rounds),
        )
        return self._multiplier(norm), norm

    def _multiplier(self, norm: float) -> float:
        return 0.0 if self.grid is None else self.grid.noise_deviation / norm


def least_noise(plan: Plan, parameters: RoundParameters) -> float:
    """The least noise multiplier that fresh noise can have, whatever clipping norm a round of the task has.

    Rounding to the grid weighs most where the noise is as few steps as it may be; the rest is in units of the norm.

    Raises:
      ValueError: as `sum_noise`.

    """
    multiplier = plan.privacy.noise_multiplier
    if multiplier == 0:
        return 0.0
    coarsest = finest_grid(0.5)  # a power of two
    reports = parameters.cohort_size(plan.privacy.report_goal)
    bound = one_report_bound(coarsest, l2_clip_norm=0.5 / multiplier, size=plan.update_size, max_reports=reports)
    return coarsest.noise_deviation / (bound * (1 + 2.0**-40))  # of a norm that is itself rounded


def sum_noise(plan: Plan, parameters: RoundParameters) -> SumNoise:
    """Makes the noise that a task's plan asks for.

    Guarantees:
      Its standard deviation is at least the plan's `noise_multiplier` times `l2_sensitivity`.

    | noise_multiplier | result                                                            |
    |------------------|-------------------------------------------------------------------|
    | 0                | no grid, and no noise; `one_report` is what reports are clipped to |

    Raises:
      ValueError: noise too small or large for any grid, or too many weights or reports for what is known of rounding.

    """
    norm, multiplier = plan.l2_sensitivity, plan.privacy.noise_multiplier
    if multiplier == 0:
        return SumNoise(grid=None, size=plan.update_size, one_report=norm)
    grid = finest_grid(multiplier * norm)
    bound = one_report_bound(
        grid,
        l2_clip_norm=norm,
        size=plan.update_size,
        max_reports=parameters.cohort_size(plan.privacy.report_goal),
    )
    return SumNoise(grid=grid, size=plan.update_size, one_report=bound)
