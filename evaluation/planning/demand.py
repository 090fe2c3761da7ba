"""Who calls when: the pace of check-ins through a day, how long rounds take, and how many there are.

A device that is told to come back in w seconds calls then, or when it is next eligible. Eligible devices follow the
hour of the day as 1 + a cos(2π h / 24), whose best hour has `swing` times the worst: a = (swing - 1) / (swing + 1).
Devices that must stay away after a round are counted among those that call and are told to wait: rather too many.
"""

import math
from dataclasses import dataclass

from aggregation_service.rounds.pace import GATHER_SHARE, GATHER_UP_TO_COHORTS, reconnect_after_s
from aggregation_service.rounds.parameters import RoundParameters
from evaluation.planning.assumptions import Assumptions

DAY_S = 86_400
HOURS = 24
STAGES = 4


class NoRounds(ValueError):
    """Devices that never come together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What a day's devices ask for.

    Attributes:
      calls_mean_per_s: check-ins, over a day.
      calls_peak_per_s: in the busiest moment of the best hour.
      selected_peak_per_s: of these, those that find a place, while a round gathers.
      rounds_a_day: of all hours in which rounds gather their cohort in time.
      shortest_round_s: in the best hour.
      longest_round_s: in the worst of these hours.
      idle_hours: hours of the day in which no round gathers in time.

    """

    calls_mean_per_s: float
    calls_peak_per_s: float
    selected_peak_per_s: float
    rounds_a_day: float
    shortest_round_s: float
    longest_round_s: float
    idle_hours: int


def foresee(given: Assumptions, *, work_s: float, close_s: float) -> Demand:
    """Works out a day.

    Args:
      given: what is planned for.
      work_s: that a device takes to download, train and send.
      close_s: from a round's last report to the next round.

    Guarantees:
      With more devices no rate falls and no round takes longer, as long as they are steered the same way: up to ten
      cohorts are gathered on a beat, more are spread (`aggregation_service.rounds.pace`).

    Raises:
      NoRounds: no hour of the day has devices enough to gather a cohort in time.

    Source: Bonawitz et al. 2019, arXiv 1902.01046, sections 2.3 and 9.

    """
    after_gathering_s = work_s + waiting_s(given) + close_s
    mean_per_s = _calls_per_s(given)
    rates = [mean_per_s * activity(given, hour) for hour in range(HOURS)]
    gather_s = [given.cohort / (rate * _free_share(given)) for rate in rates]
    lasting_s = [each + after_gathering_s for each in gather_s if each <= given.selection_timeout_s]
    if not lasting_s:
        raise NoRounds(
            f"selection_timeout_s must be >= {min(gather_s):.0f} for {given.devices} devices to gather a cohort of "
            f"{given.cohort} in the best hour, got {given.selection_timeout_s:g}"
        )
    busiest = max(rates) / (GATHER_SHARE if is_gathered(given) else 1)
    return Demand(
        calls_mean_per_s=mean_per_s,
        calls_peak_per_s=busiest,
        selected_peak_per_s=busiest * _free_share(given),
        rounds_a_day=math.fsum(DAY_S / HOURS / each for each in lasting_s),
        shortest_round_s=min(lasting_s),
        longest_round_s=max(lasting_s),
        idle_hours=HOURS - len(lasting_s),
    )


def activity(given: Assumptions, hour: int) -> float:
    """Devices eligible in an hour after the best one, relative to the mean.

    >>> round(activity(Assumptions(swing=4.0), 0) / activity(Assumptions(swing=4.0), 12), 6)
    4.0
    """
    depth = (given.swing - 1) / (given.swing + 1)
    return 1 + depth * math.cos(2 * math.pi * hour / HOURS)


def is_gathered(given: Assumptions) -> bool:
    """Whether pace steering calls all devices at once, or spreads them."""
    return given.devices <= GATHER_UP_TO_COHORTS * given.cohort


def waiting_s(given: Assumptions) -> float:
    """How long a device waits for the others of its group, all stages together; 0 for plain updates."""
    return given.group_gather_s + STAGES * given.stage_s if given.secure_aggregation else 0.0


def _calls_per_s(given: Assumptions) -> float:
    """Of all devices, on average over a day."""
    beat_s = RoundParameters(minimum_reports=1, selection_timeout_s=given.selection_timeout_s).beat_s
    if is_gathered(given):
        return given.devices * given.eligible_share / beat_s
    told_s = reconnect_after_s(
        now=0.0, beat_s=beat_s, cohort_size=given.cohort, population_size=given.devices, jitter=0.5
    )
    ineligible_s = DAY_S * (1 - given.eligible_share)
    asleep_s = (1 - given.eligible_share) * ineligible_s / 2  # half of the night, for those who are told to call in it
    return given.devices / (told_s + asleep_s)


def _free_share(given: Assumptions) -> float:
    """Devices that need not stay away after their last round."""
    return max(1 - given.cohort * (given.separation_rounds - 1) / given.devices, given.cohort / given.devices)
