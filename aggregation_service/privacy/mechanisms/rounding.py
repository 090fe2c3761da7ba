"""What the rounding of recalled noise adds to a stream's sensitivity, so that its floats need no argument of their own.

All numbers are integers, in steps of the grid: the sums x_t, fresh noise z_t (exact discrete Gaussian), and what is
released, o_t = x_t + n_t. The noise is n_t = z_t - r_t, where r_t is the linear recall Σ_j c_j n_(t-j), rounded. Given
what was released before, o_t is a discrete Gaussian around the integer x_t - r_t, as r_t follows from o_s - x_s, s < t.
For neighbours x and x' these centres differ by

    (x'_t - x_t) - (r'_t - r_t) = (C(x' - x))_t + e_t,

the linear shift, and what two roundings did: |e_t| <= e in each coordinate. Over all steps and coordinates the shifts
add up, in L2 norm, to no more than the sensitivity of C plus e·sqrt(size·rounds) (`grid_noise.stream_bound`), whatever
was released before. So the stream is ρ-zCDP with ρ = (that sum)² / 2σ²: Canonne, Kamath, Steinke 2020, arXiv
2004.00010, theorem 14, composed.

A tree's noise is exactly a function of its nodes' (`trees.mix`): rounding is postprocessing there.
"""

from aggregation_service.privacy.mechanisms.memories import LARGEST
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.sensitivity import MOST_ROUNDS
from aggregation_service.privacy.mechanisms.toeplitz import coefficients


def rounding_steps(parameters: Mechanism, *, rounds: int) -> float:
    """Bounds e, by which rounding may shift a coordinate of a stream's step between neighbours.

    Args:
      parameters: the mechanism.
      rounds: n >= 1, steps of the stream.

    Returns:
      In steps of the grid: 1 for two roundings, and twice what float64 may have done to a recall before it is rounded;
      0 for independent noise and trees.

    Raises:
      ValueError: `rounds` is out of its bound.

    """
    if not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds must be between 1 and {MOST_ROUNDS}, got {rounds}")
    match parameters:
        case Independent() | Tree():
            return 0.0
        case BandedToeplitz():
            terms = len(parameters.coefficients) - 1
        case BufferedToeplitz():
            terms = len(parameters.decays) + 1  # one for the rounding of the fading sums themselves
    recalled = float(coefficients(parameters, rounds)[1:].sum())
    float_error = terms * recalled * LARGEST * 2.0**-52
    return 1 + 2 * float_error if terms else 0.0
