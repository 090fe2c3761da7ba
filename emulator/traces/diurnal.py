"""Days and nights: when a person's device is idle, charging and on an unmetered network.

A device is plugged in most evenings and left alone until the morning, by its own time zone; by day it lies on a desk
for an hour now and then, on an unmetered network where there is one. Over a fleet of one zone that makes four devices
eligible in the best hour for one in the worst, which is the swing that production saw.

Source: Bonawitz et al. 2019, arXiv 1902.01046, section 9 and figure 5.
"""

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from device_runtime.conditions import Conditions
from emulator.trace import DAY_S, HOUR_S, Intervals, Trace
from emulator.traces.spans import Span, union, without

_LONGEST_SEARCH_DAYS = 400
_CONNECTION_GAP_S = (120.0, 1800.0)
_HOME_FROM_H, _HOME_UNTIL_H = 6.0, 21.0
"""Hours after noon between which a device is at home: 18:00 and 9:00."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """What a person does every day, more or less.

    Attributes:
      nights_charged: share of nights in which the device is plugged in.
      day_rests: mean number of times a day that it lies on a charger for a while.
      unmetered_by_day: share of days with an unmetered network away from home.
      losses_per_day: mean number of times that the connection is lost, each for 2 to 30 minutes.

    """

    nights_charged: float = 0.55
    day_rests: float = 5.6
    unmetered_by_day: float = 0.8
    losses_per_day: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DiurnalTrace:
    """One device's days, drawn by seed and date whenever they are looked at: a device that waits holds none of them.

    Attributes:
      seed: of this device.
      zone_s: its time zone, in seconds east of UTC.
      habits: its person's.
      absent: stretches in which the device is switched off, in seconds since 1970: weeks in a drawer.

    """

    seed: str
    zone_s: float = 0.0
    habits: Habits = Habits()
    absent: tuple[Span, ...] = ()

    def conditions(self, at: float) -> Conditions:
        """The conditions at a time."""
        return _drawn(self, self._day(at)).conditions(at)

    def next_eligible(self, at: float) -> float | None:
        """The first time from `at` on at which all conditions hold, None if that is more than a year away."""
        first = self._day(at)
        for day in range(first, first + _LONGEST_SEARCH_DAYS):
            begin = max(at, _noon(self, day))
            found = _drawn(self, day).next_eligible(begin)
            if found is not None:
                return found
        return None

    def _day(self, at: float) -> int:
        """Days go from local noon to local noon, so that each holds a whole night."""
        return math.floor((at + self.zone_s) / DAY_S - 0.5)


def _noon(trace: DiurnalTrace, day: int) -> float:
    return (day + 0.5) * DAY_S - trace.zone_s


@lru_cache(maxsize=4096)
def _drawn(trace: DiurnalTrace, day: int) -> Trace:
    """What lies between one local noon and the next."""
    generator = random.Random(f"{trace.seed} {day}")  # noqa: S311  # draws surroundings, guards nothing
    noon, habits = _noon(trace, day), trace.habits
    charging, idle = _night(generator, habits)
    for rest in _rests(generator, habits):
        charging.append(rest)
        idle.append(rest)
    unmetered = [(_HOME_FROM_H, _HOME_UNTIL_H)]
    if generator.random() < habits.unmetered_by_day:
        unmetered = [(0.0, 24.0)]
    losses = [
        (start, start + generator.uniform(*_CONNECTION_GAP_S) / HOUR_S)
        for start in (generator.uniform(0, 24) for _ in range(_around(generator, habits.losses_per_day)))
    ]
    absent = union(trace.absent)
    return Trace(
        idle=without(_at(noon, idle), absent),
        charging=without(_at(noon, charging), absent),
        unmetered=without(without(_at(noon, unmetered), _at(noon, losses)), absent),
    )


def _night(generator: random.Random, habits: Habits) -> tuple[list[Span], list[Span]]:
    """When it charges and when it lies still, in hours after noon."""
    plugged_in = 12 + generator.gauss(-1.0, 0.9)
    laid_down = plugged_in + generator.uniform(0.1, 1.0)
    taken_up = 12 + generator.gauss(7.0, 0.9)
    unplugged = taken_up + generator.uniform(-0.5, 0.5)
    is_charged = generator.random() < habits.nights_charged
    return ([(plugged_in, unplugged)] if is_charged else []), [(laid_down, taken_up)]


def _rests(generator: random.Random, habits: Habits) -> list[Span]:
    starts = [generator.uniform(-1, 24) for _ in range(_around(generator, habits.day_rests))]
    return [(start, start + generator.uniform(0.4, 1.8)) for start in starts]


def _around(generator: random.Random, mean: float) -> int:
    """A whole number >= 0 with this mean: floor or ceiling of a number drawn up to twice as large."""
    drawn = generator.uniform(0, 2 * mean)
    return math.floor(drawn) + (generator.random() < drawn % 1)


def _at(noon: float, hours: list[Span]) -> Intervals:
    """Hours after noon as seconds since 1970; what lies beyond the next noon is another day's."""
    cut = [(max(0.0, start), min(24.0, end)) for start, end in hours]
    return union((noon + HOUR_S * start, noon + HOUR_S * end) for start, end in cut)
