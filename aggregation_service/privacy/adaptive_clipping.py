"""Adaptive clipping: a clipping norm that follows a quantile of the norms, within a floor and a ceiling.

Every device says in one bit whether its update was within the clipping norm C: see `protocol.clipping_bit`. The noised
count of these bits moves C after each round.

| here                                | paper                          |
|-------------------------------------|--------------------------------|
| `l2_clip_norm`                      | C                              |
| `target_quantile`                   | γ                              |
| `learning_rate`                     | η_C                            |
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
    """A state that cannot be read, of another task, or with a norm that is not the round's or not within bounds."""


class ClippingParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the clipping norm adapts; what it costs stands in the plan, as `count_noise`.

    Attributes:
      target_quantile: share of the devices whose updates shall stay as they are; in (0, 1).
      learning_rate: by what factor, as a logarithm, the norm moves if all devices are on the wrong side; in (0, 2].
      floor, ceiling: norms in units of weight change; 0 < floor <= ceiling.

    Raises:
      ValueError: one of these is out of its bound.

    """

    target_quantile: float = 0.5
    learning_rate: float = 0.2
    floor: float
    ceiling: float

    def __post_init__(self) -> None:
        if not 0 < self.target_quantile < 1:
            raise ValueError(f"target_quantile must be in (0, 1), got {self.target_quantile}")
        if not 0 < self.learning_rate <= 2:
            raise ValueError(f"learning_rate must be in (0, 2], got {self.learning_rate}")
        if not (self.floor > 0 and math.isfinite(self.floor)):
            raise ValueError(f"floor must be a finite number > 0, got {self.floor}")
        if not self.floor <= self.ceiling < math.inf:
            raise ValueError(f"ceiling must be finite and >= the floor of {self.floor}, got {self.ceiling}")


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


def initial_state(parameters: ClippingParameters, context: str, l2_clip_norm: float) -> ClippingState:
    """The state before the first round of the task that `context` names.

    Raises:
      ValueError: the norm is not between `floor` and `ceiling`.

    """
    if not parameters.floor <= l2_clip_norm <= parameters.ceiling:
        raise ValueError(
            f"l2_clip_norm must be between {parameters.floor} and {parameters.ceiling}, got {l2_clip_norm}"
        )
    return ClippingState(context=context, step=0, l2_clip_norm=l2_clip_norm)


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


def adapt(
    state: ClippingState, parameters: ClippingParameters, noised_bits: float, expected_reports: int
) -> ClippingState:
    """The next round's clipping norm: C · exp(-η (b - γ)), within floor and ceiling.

    Args:
      state: of the round that ends.
      parameters: of the task.
      noised_bits: sum of +-1/2 a device with its noise, in devices: b = 1/2 + noised_bits / m.
      expected_reports: m >= 1, the fixed divisor of the count.

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
      ValueError: `noised_bits` is not a number, or `expected_reports` < 1.

    Source: Andrew et al. 2021, arXiv 1905.03871, algorithm 1.

    """
    if math.isnan(noised_bits):
        raise ValueError("noised_bits must be a number, got nan")
    if expected_reports < 1:
        raise ValueError(f"expected_reports must be >= 1, got {expected_reports}")
    within = min(max(0.5 + noised_bits / expected_reports, 0.0), 1.0)
    moved = state.l2_clip_norm * math.exp(-parameters.learning_rate * (within - parameters.target_quantile))
    norm = min(max(moved, parameters.floor), parameters.ceiling)
    return ClippingState(context=state.context, step=state.step + 1, l2_clip_norm=norm)
