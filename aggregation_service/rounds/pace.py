"""Pace steering: when a device that cannot help now shall come back.

A small population must be gathered, or a round never finds its cohort; a large one must be spread, or everybody comes
at once. Source: Bonawitz et al. 2019, arXiv 1902.01046, section 2.3.
"""

import math

GATHER_UP_TO_COHORTS = 10
"""Populations of up to so many cohorts are gathered, larger ones spread."""

CALLERS_PER_PLACE = 3
"""How many devices shall call for each place in a cohort: some that call are refused, some have lost interest."""

GATHER_SHARE = 0.1
"""The part of a beat over which a gathered population's calls are spread, so that they do not come in one instant."""

LONGEST_S = 24 * 3600.0


def reconnect_after_s(*, now: float, beat_s: float, cohort_size: int, population_size: int, jitter: float) -> float:
    """Says after how many seconds a device shall check in again.

    Args:
      now: seconds since 1970.
      beat_s: > 0, how often a round may begin.
      cohort_size: devices that a round selects, >= 1.
      population_size: devices known, >= 0.
      jitter: in [0, 1), fresh for each device.

    Returns:
      Small population: a time shortly after the next multiple of `beat_s`, the same beat for all.
      Large population: a time spread so that about `CALLERS_PER_PLACE * cohort_size` devices call in a beat.

    Guarantees:
      0 < result <= max(LONGEST_S, 1.11 * beat_s), and not decreasing in `jitter`.

    """
    if population_size <= GATHER_UP_TO_COHORTS * cohort_size:
        next_beat_at = (math.floor(now / beat_s) + 1) * beat_s
        return max(next_beat_at - now, 0.0) + beat_s * GATHER_SHARE * (jitter + 0.01)
    mean_s = min(beat_s * population_size / (CALLERS_PER_PLACE * cohort_size), LONGEST_S / 1.5)
    return mean_s * (0.5 + jitter)


def after_separation_s(*, remaining_s: float, beat_s: float, jitter: float) -> float:
    """Says when a device shall call that must stay away for `remaining_s` more seconds: then, or shortly after."""
    return max(remaining_s, 0.0) + beat_s * GATHER_SHARE * jitter


def until_round_s(*, beat_s: float, jitter: float) -> float:
    """Says when a device shall call that came just before a round is made: soon, but not before 1 s has passed."""
    return max(1.0, beat_s * 0.01) * (0.5 + jitter) + 0.5
