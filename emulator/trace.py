"""Traces: when an emulated device is idle, charging and on an unmetered network.

A night looks like this: the person plugs the device in, lays it down somewhat later, and takes it up in the morning; at
home the network is unmetered. Production saw the same swing between night and day (arXiv 1902.01046, section 9).
"""

import bisect
import random
from dataclasses import dataclass

from device_runtime.conditions import Conditions

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True)
class Intervals:
    """Half-open stretches of time, in seconds since 1970, in order and apart."""

    spans: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        edges = [edge for span in self.spans for edge in span]
        if edges != sorted(set(edges)):
            raise ValueError("intervals must be in order, apart and not empty")

    def hold(self, at: float) -> bool:
        """Whether `at` lies in one of them."""
        return self.end_of(at) is not None

    def end_of(self, at: float) -> float | None:
        """The end of the interval around `at`, None if there is none."""
        index = bisect.bisect_right(self.spans, at, key=lambda span: span[0]) - 1
        return self.spans[index][1] if index >= 0 and at < self.spans[index][1] else None

    def next_start(self, at: float) -> float | None:
        """The start of the first interval after `at`, None if there is none."""
        index = bisect.bisect_right(self.spans, at, key=lambda span: span[0])
        return self.spans[index][0] if index < len(self.spans) else None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One device's surroundings."""

    idle: Intervals
    charging: Intervals
    unmetered: Intervals

    def conditions(self, at: float) -> Conditions:
        """The conditions at a time."""
        return Conditions(idle=self.idle.hold(at), charging=self.charging.hold(at), unmetered=self.unmetered.hold(at))

    def next_eligible(self, at: float) -> float | None:
        """The first time from `at` on at which all conditions hold, None if that never comes."""
        moment: float | None = at
        while moment is not None and not self.conditions(moment).eligible:
            starts = [start for each in self._all() if (start := each.next_start(moment)) is not None]
            moment = min(starts, default=None)
        return moment

    def _all(self) -> tuple[Intervals, ...]:
        return self.idle, self.charging, self.unmetered


def nightly_trace(generator: random.Random, *, first_midnight: float, nights: int) -> Trace:
    """Draws a device's nights.

    Args:
      generator: of this device's; the same seed gives the same trace.
      first_midnight: local midnight of the first night, in seconds since 1970.
      nights: how many follow each other.

    """
    charging, idle, unmetered = [], [], []
    for night in range(nights):
        midnight = first_midnight + night * DAY_S
        plugged_in = midnight - HOUR_S * generator.uniform(0.5, 2.5)
        laid_down = plugged_in + HOUR_S * generator.uniform(0.1, 1.0)
        taken_up = midnight + HOUR_S * generator.uniform(5.5, 8.0)
        charging.append((plugged_in, taken_up + HOUR_S * generator.uniform(-0.5, 0.5)))
        idle.append((laid_down, taken_up))
        unmetered.append((midnight - 6 * HOUR_S, midnight + 9 * HOUR_S))
    return Trace(
        idle=Intervals(tuple(idle)), charging=Intervals(tuple(charging)), unmetered=Intervals(tuple(unmetered))
    )
