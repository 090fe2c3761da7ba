"""Adaptive clipping: a clipping norm that follows a quantile of the norms, within a floor and a ceiling.

Every device says in one bit whether its update was within the clipping norm C. The bit is one more coordinate of the
update, +1/2 or -1/2 times a factor, and so it is summed, noised and accounted with the update: together they cost what
the update alone would with a little less noise.

| here                                | paper                          |
|-------------------------------------|--------------------------------|
| `l2_clip_norm`                      | C                              |
| `target_quantile`                   | γ                              |
| `learning_rate`                     | η_C                            |
| `count_noise`                       | σ_b, in devices                |
| `update_noise_multiplier`           | z_Δ, of the update alone       |
| `noise_multiplier`                  | z, of both                     |
| `expected_reports`                  | m, qn there                    |

The share of devices within C is estimated over a fixed number of expected reports: a bit of zero, as neighbours have
it, counts as half, so the number of reports itself is not needed.

Source: Andrew, Thakkar, McMahan, Ramaswamy 2021, arXiv 1905.03871.
"""

import math
from typing import Annotated

import msgspec

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class WrongClippingState(Exception):
    """A state that cannot be read, of another task, or with a norm outside the task's floor and ceiling."""


class ClippingParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the clipping norm adapts.

    Attributes:
      target_quantile: share of the devices whose updates shall stay as they are; in (0, 1).
      learning_rate: by what factor, as a logarithm, the norm moves if all devices are on the wrong side; in (0, 2].
      count_noise: standard deviation of the noise on the count of bits, in devices; the paper takes m / 20.
      expected_reports: m, the fixed divisor of the count.
      initial, floor, ceiling: norms in units of weight change; 0 < floor <= initial <= ceiling.

    Raises:
      ValueError: one of these is out of its bound.

    """

    target_quantile: float = 0.5
    learning_rate: float = 0.2
    count_noise: float
    expected_reports: int
    initial: float
    floor: float
    ceiling: float

    def __post_init__(self) -> None:
        _check_positive("count_noise", self.count_noise)
        _check_positive("floor", self.floor)
        if not 0 < self.target_quantile < 1:
            raise ValueError(f"target_quantile must be in (0, 1), got {self.target_quantile}")
        if not 0 < self.learning_rate <= 2:
            raise ValueError(f"learning_rate must be in (0, 2], got {self.learning_rate}")
        if self.expected_reports < 1:
            raise ValueError(f"expected_reports must be >= 1, got {self.expected_reports}")
        if not self.floor <= self.initial <= self.ceiling < math.inf:
            raise ValueError(
                f"initial must be between the floor of {self.floor} and the ceiling of {self.ceiling}, "
                f"both finite, got {self.initial}"
            )


class ClippingState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clipping norm of the next round.

    Attributes:
      context: names the task that it belongs to.
      step: how many rounds moved it.
      l2_clip_norm: C, in units of weight change.

    """

    context: str
    step: Annotated[int, msgspec.Meta(ge=0)]
    l2_clip_norm: _Positive

    def to_bytes(self) -> bytes:
        """JSON, the same for the same state."""
        return msgspec.json.encode(self, order="deterministic")


def initial_state(parameters: ClippingParameters, context: str) -> ClippingState:
    """The state before the first round of the task that `context` names."""
    return ClippingState(context=context, step=0, l2_clip_norm=parameters.initial)


def read_state(parameters: ClippingParameters, context: str, payload: bytes) -> ClippingState:
    """Reads what `to_bytes` wrote.

    Raises:
      WrongClippingState: truncated or changed, of another task than `context`, or its norm is not between `floor` and
        `ceiling`.

    """
    try:
        state = msgspec.json.decode(payload, type=ClippingState)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WrongClippingState("a clipping state cannot be read") from None
    if state.context != context:
        raise WrongClippingState(f"a clipping state must be of {context}, got that of another task")
    if not parameters.floor <= state.l2_clip_norm <= parameters.ceiling:
        raise WrongClippingState(
            f"the norm of a clipping state must be between {parameters.floor} and {parameters.ceiling}, "
            f"got {state.l2_clip_norm}"
        )
    return state


def update_noise_multiplier(noise_multiplier: float, count_noise: float) -> float:
    """z_Δ: the noise multiplier of the update with which update and bit together cost what z costs.

    Args:
      noise_multiplier: z > 0, of both together.
      count_noise: σ_b > 0, standard deviation of the noise on the count, in devices.

    Returns:
      z_Δ = (z^-2 - (2 σ_b)^-2)^(-1/2) > z. The noise on the update's coordinates has deviation z_Δ C.

    Guarantees:
      What both cost is never more than what z costs: the result is rounded up.

    | count_noise    | result |
    |----------------|--------|
    | > z / 2        | > z    |
    | <= z / 2       | raises |

    Raises:
      ValueError: an argument is not a finite number > 0, or the count's noise alone costs more than z.

    Source: Andrew et al. 2021, arXiv 1905.03871, theorem 1.

    """
    _check_positive("noise_multiplier", noise_multiplier)
    _check_positive("count_noise", count_noise)
    if not 2 * count_noise > noise_multiplier:
        raise ValueError(f"count_noise must be > half the noise_multiplier, {noise_multiplier / 2}, got {count_noise}")
    twice = 2 * count_noise
    _check_positive("2 * count_noise", twice)  # so large that it is infinite, it would leave NaN
    left = math.sqrt(twice - noise_multiplier) * math.sqrt(twice + noise_multiplier)  # a difference of squares cancels
    return noise_multiplier * (twice / left) * (1 + 2.0**-50)


def joint_noise_multiplier(update_noise_multiplier: float, count_noise: float) -> float:
    """The noise multiplier of update and bit together, z: z^-2 = z_Δ^-2 + (2 σ_b)^-2.

    Raises:
      ValueError: an argument is not a finite number > 0.

    """
    _check_positive("update_noise_multiplier", update_noise_multiplier)
    _check_positive("count_noise", count_noise)
    return 1 / math.hypot(1 / update_noise_multiplier, 1 / (2 * count_noise))


def bit_coordinate(
    *, was_clipped: bool, l2_clip_norm: float, update_noise_multiplier: float, count_noise: float
) -> float:
    """The bit as one more coordinate of the update, scaled so that noise of deviation z_Δ C is right for it too.

    Args:
      was_clipped: whether the update was longer than C.
      l2_clip_norm: C.
      update_noise_multiplier: z_Δ.
      count_noise: σ_b, in devices.

    Returns:
      +-1/2 z_Δ C / σ_b, in units of weight change; + if the update was within C. Update and bit together have norm at
      most C sqrt(1 + (z_Δ / (2 σ_b))^2), which is C z_Δ / z.

    Raises:
      ValueError: an argument is not a finite number > 0.

    """
    unit = coordinate_per_device(l2_clip_norm, update_noise_multiplier, count_noise)
    return -unit / 2 if was_clipped else unit / 2


def coordinate_per_device(l2_clip_norm: float, update_noise_multiplier: float, count_noise: float) -> float:
    """z_Δ C / σ_b: what a noised sum of bit coordinates is divided by to give devices.

    Raises:
      ValueError: an argument is not a finite number > 0.

    """
    _check_positive("l2_clip_norm", l2_clip_norm)
    _check_positive("update_noise_multiplier", update_noise_multiplier)
    _check_positive("count_noise", count_noise)
    return update_noise_multiplier * l2_clip_norm / count_noise


def adapt(state: ClippingState, parameters: ClippingParameters, noised_bits: float) -> ClippingState:
    """The next round's clipping norm: C · exp(-η (b - γ)), within floor and ceiling.

    Args:
      state: of the round that ends.
      parameters: of the task.
      noised_bits: sum of +-1/2 a device with its noise, in devices: b = 1/2 + noised_bits / m.

    Guarantees:
      Costs no privacy beyond that of `noised_bits` (post-processing). b is cut to [0, 1], so that noise alone cannot
      move the norm by more than a factor of exp(η) a round.

    | noised_bits             | result                                 |
    |-------------------------|----------------------------------------|
    | m (γ - 1/2)             | the same norm                          |
    | all within, or far more | smaller by exp(η (1 - γ)), or floor    |
    | none within, or far less| larger by exp(η γ), or ceiling         |
    | NaN                     | raises                                 |

    Raises:
      ValueError: `noised_bits` is not a number.

    Source: Andrew et al. 2021, arXiv 1905.03871, algorithm 1.

    """
    if math.isnan(noised_bits):
        raise ValueError("noised_bits must be a number, got nan")
    within = min(max(0.5 + noised_bits / parameters.expected_reports, 0.0), 1.0)
    moved = state.l2_clip_norm * math.exp(-parameters.learning_rate * (within - parameters.target_quantile))
    norm = min(max(moved, parameters.floor), parameters.ceiling)
    return ClippingState(context=state.context, step=state.step + 1, l2_clip_norm=norm)


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a finite number > 0, got {value}")
