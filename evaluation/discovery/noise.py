"""The noise of a discovery: as much as epsilon asks for, on the service's grid, by the service's accounting."""

import math
from dataclasses import dataclass

from aggregation_service.privacy.accountants import noise_multiplier_for
from aggregation_service.privacy.accounting import PrivacySpent, spent_on_charges
from aggregation_service.privacy.charges import Charge
from aggregation_service.privacy.grid_noise import Grid, finest_grid, one_report_bound
from protocol.discovery.parameters import DiscoveryParameters


@dataclass(frozen=True, kw_only=True)
class LevelNoise:
    """Fresh noise of every level.

    Attributes:
      noise_multiplier: z of the plan: the deviation over the norm of a device's votes.
      deviation: of the noise on each count, in devices.
      spent: what all levels together cost the device that votes in each.

    """

    noise_multiplier: float
    deviation: float
    spent: PrivacySpent

    def scaled(self, factor: float) -> Grid:
        """The grid for `factor` times the noise: what it is to a simulated population that stands for a larger one."""
        return finest_grid(self.deviation * factor)


def noise_for(epsilon: float, delta: float, parameters: DiscoveryParameters, devices: int) -> LevelNoise:
    """The noise with which a discovery costs at most epsilon.

    A device takes part once a level, so the levels are one Gaussian mechanism of noise multiplier z / sqrt(levels)
    (arXiv 1905.02383, corollary 3.3).

    Args:
      epsilon: > 0.
      delta: in (0, 1).
      parameters: of the discovery.
      devices: in a level's sum, at most; rounding is bounded for them.

    Raises:
      ValueError: a parameter out of its bound.

    """
    alone = noise_multiplier_for(epsilon, delta)
    multiplier = alone * math.sqrt(len(parameters.steps))
    while (spent := _spent(multiplier, delta, parameters, devices)).epsilon > epsilon:
        lacking = alone * math.sqrt(2 * spent.rho)  # rho is 1 / (2 multiplier^2) of the one mechanism
        multiplier *= max(lacking, 1.0) * (1 + 2.0**-40)
    return LevelNoise(noise_multiplier=multiplier, deviation=multiplier * parameters.vote_norm, spent=spent)


def _spent(multiplier: float, delta: float, parameters: DiscoveryParameters, devices: int) -> PrivacySpent:
    """What all levels cost, rounding to the grid included."""
    grid = finest_grid(multiplier * parameters.vote_norm)
    size = max(parameters.candidates_by_level)
    bound = one_report_bound(grid, l2_clip_norm=parameters.vote_norm, size=size, max_reports=devices)
    return spent_on_charges([Charge(grid.noise_deviation / bound, len(parameters.steps))], delta)
