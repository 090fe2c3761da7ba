"""The sum of many discrete Gaussian shares of noise: how it is booked, and which Gaussian mechanism it is as good as.

The sum is not a discrete Gaussian itself, but close to that of deviation sqrt(n) sigma: `divergence` bounds how far it
is, and enters the guarantee once for each coordinate. From sigma = 3 on it is too small to matter: a million
participations in sums of 2^25 coordinates change the logarithm of any chance by less than 10^-24.

| here                | Kairouz, Liu, Steinke 2021, arXiv 2102.06387             |
|---------------------|----------------------------------------------------------|
| `sigma`             | σ / γ, of one share, in integers                         |
| `num_shares`        | n                                                        |
| `squared_bound`     | Δ₂² / γ²; of `Quantiser`, exact                          |
| `vector_length`     | d                                                        |
| `divergence`        | τ                                                        |

Neighbours are zero-out, as in `accounting`: one device's update replaced by zero. Its share stays, as an honest
device adds it in any case. The modulus is post-processing, so it costs nothing whether the sum wraps around or not.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from aggregation_service.privacy.grid_noise import SMOOTHING
from protocol.distributed_noise import MIN_SHARE_SIGMA, SharedNoise

LEAST_SIGMA = Fraction(1, 2)
"""Narrower shares add up to a lattice that shows, and the theorem does not hold for them."""

_UP = 1 + 2.0**-40  # the rounding of sums of up to 10^6 terms and of square roots


@dataclass(frozen=True, kw_only=True)
class SumOfShares:
    """A sum of integers that carries `num_shares` shares of noise; more shares than that do no harm.

    Attributes:
      sigma: of each share, >= 1/2.
      num_shares: n, 1 to 10^6: only those of honest devices that stayed.
      squared_bound: one device's integers add up to at most this when squared; >= 1.
      vector_length: d >= 1.

    Raises:
      ValueError: one of these is out of its bound.

    """

    sigma: Fraction
    num_shares: int
    squared_bound: int
    vector_length: int

    def __post_init__(self) -> None:
        if not self.sigma >= LEAST_SIGMA:
            raise ValueError(f"sigma must be >= {LEAST_SIGMA}, got {self.sigma}")
        if not 1 <= self.num_shares <= 1_000_000:
            raise ValueError(f"num_shares must be 1 to 1000000, got {self.num_shares}")
        for name in ("squared_bound", "vector_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    @property
    def noise_multiplier(self) -> float:
        """sqrt(n) sigma over the sensitivity: that of the Gaussian mechanism that this comes close to."""
        return math.sqrt(self.num_shares / self.squared_bound) * float(self.sigma)

    @property
    def gaussian_multiplier(self) -> float:
        """The noise multiplier of the Gaussian mechanism that is accounted in place of this: that of variance n σ² - 9.

        Rounded at random as in `grid_noise`, that Gaussian is a discrete one of variance n σ², and from this the sum
        of shares of `MIN_SHARE_SIGMA` and more cannot be told: see above.

        Raises:
          ValueError: a share is narrower than `MIN_SHARE_SIGMA`.

        """
        if self.sigma < MIN_SHARE_SIGMA:
            raise ValueError(f"sigma must be >= {MIN_SHARE_SIGMA} to be accounted as a Gaussian, got {self.sigma}")
        variance = self.num_shares * self.sigma**2 - SMOOTHING**2
        return math.sqrt(variance / self.squared_bound) / _UP

    @property
    def divergence(self) -> float:
        """τ = 10 Σ exp(-2 π² σ² k / (k + 1)), k = 1 to n - 1: how far a coordinate is from a discrete Gaussian."""
        k = np.arange(1, self.num_shares)
        terms = np.exp(-2 * math.pi**2 * float(self.sigma) ** 2 * (k / (k + 1)))
        return 10 * float(terms.sum()) * _UP

    def renyi(self, order: float) -> float:
        """The Rényi divergence of that order between neighbours, at most.

        Args:
          order: α > 1.

        Returns:
          The least of α Δ² / (2 n σ²) + τ d and α / 2 (Δ / (sqrt(n) σ) + τ sqrt(d))².

        Raises:
          ValueError: `order` is not a finite number > 1.

        Source: Kairouz, Liu, Steinke 2021, arXiv 2102.06387, proposition 14.

        """
        if not (order > 1 and math.isfinite(order)):
            raise ValueError(f"order must be a finite number > 1, got {order}")
        shift = 1 / self.noise_multiplier
        apart = order / 2 * shift**2 + self.divergence * self.vector_length
        together = order / 2 * (shift + self.divergence * math.sqrt(self.vector_length)) ** 2
        return min(apart, together) * _UP

    @property
    def rho(self) -> float:
        """Of zero-concentrated privacy: the least of Δ² / (2 n σ²) + τ d and (Δ / (sqrt(n) σ) + τ sqrt(d))² / 2.

        Source: Kairouz, Liu, Steinke 2021, arXiv 2102.06387, theorem 1, where it is ε² / 2.
        """
        shift = 1 / self.noise_multiplier
        apart = shift**2 / 2 + self.divergence * self.vector_length
        together = (shift + self.divergence * math.sqrt(self.vector_length)) ** 2 / 2
        return min(apart, together) * _UP


def sum_of(shared: SharedNoise) -> SumOfShares:
    """What is to be accounted for a group whose devices keep to `shared` and of which `num_honest` stay."""
    return SumOfShares(
        sigma=shared.sigma,
        num_shares=shared.num_honest,
        squared_bound=shared.quantiser.squared_bound,
        vector_length=shared.quantiser.vector_length,
    )
