"""The privacy statement in plain words: what the numbers promise to the person who types, and what they do not."""

import math

from evaluation.numbers import number, small

WEAK_EPSILON = 10.0
"""Beyond this the odds of a guess may change more than twenty-thousandfold: the proof then promises next to nothing."""

STRONG_EPSILON = 1.0
"""Up to this the odds of a guess change by a factor of e at most."""


def write_statement(
    *,
    epsilon: float | None,
    delta: float,
    cohort: int,
    population: int,
    scale_epsilon: float | None,
    scale_cohort: int,
    scale_population: int,
    scale_rounds: int,
    scale_delta: float,
) -> str:
    """Writes the statement that heads a report.

    Args:
      epsilon: of the run; None if there was no noise.
      delta: of the run.
      cohort: devices that a round adds up, on average or as its goal.
      population: devices that take part.
      scale_epsilon: what the same noise on the average gives at scale; None if there was no noise.
      scale_cohort: devices of a round at scale.
      scale_population: devices of a population at scale.
      scale_rounds: rounds at scale, in which a device takes part again only after all others had their turn.
      scale_delta: of the epsilon at scale.

    """
    what = "Text never left a device; each sent only a clipped change of the model's weights."
    if epsilon is None or scale_epsilon is None:
        return (
            f"{what} No noise was added to the sums, so there is no differential privacy here: whoever has the models "
            "may find out whether somebody took part, and perhaps what they typed."
        )
    return (
        f"{what} With the noise of this run, ε = {number(epsilon)} at δ = {small(delta)} for a device's whole log. "
        f"{_judge(epsilon)} {_why(epsilon, cohort, population)} The same noise on the average of {scale_cohort:,} "
        f"devices in a population of {scale_population:,} would give ε = {number(scale_epsilon)} at "
        f"δ = {small(scale_delta)} for {scale_rounds} rounds, if nobody takes part twice before all others had a turn. "
        f"{_judge(scale_epsilon)}"
    )


def _judge(epsilon: float) -> str:
    if epsilon > WEAK_EPSILON:
        return "That is too large to be called protection."
    factor = number(math.exp(epsilon))
    return (
        f"What one device sends then changes the odds of any guess about its person by a factor of {factor} at most, "
        f"but for a chance of δ: {'strong' if epsilon <= STRONG_EPSILON else 'moderate'} protection."
    )


def _why(epsilon: float, cohort: int, population: int) -> str:
    if epsilon <= WEAK_EPSILON:
        return f"{cohort:,} devices share a round's noise, of a population of {population:,}."
    return (
        f"It is large because only {cohort:,} devices share a round's noise and the same {population:,} devices come "
        "again and again: this demonstration is small, and its model should be treated as if it held its "
        "devices' text."
    )
