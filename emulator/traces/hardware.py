"""Machines: how fast, how roomy, how exact their clock, how often they are restarted."""

import random
from dataclasses import dataclass

from device_runtime.runtime import RUNTIMES

DAY_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """One device's machine.

    Attributes:
      seconds_per_step: how long its processor takes for a training step.
      up_bytes_per_s: of its network.
      down_bytes_per_s: of its network.
      largest_file_bytes: no file of a round may be larger, for there is no room; None where there always is.
      clock_error_s: what its clock is ahead of everybody's at the fleet's start.
      clock_drift_s_per_day: what it gains more each day.
      kills_per_step: probability that a step meets the end of its process: the system needs memory, or starts anew.
      runtime: the TFLite runtime that it has.

    """

    seconds_per_step: float = 1.0
    up_bytes_per_s: float = 1e6
    down_bytes_per_s: float = 4e6
    largest_file_bytes: int | None = None
    clock_error_s: float = 0.0
    clock_drift_s_per_day: float = 0.0
    kills_per_step: float = 0.0
    runtime: str | None = None

    def clock_ahead_s(self, since_start_s: float) -> float:
        """What its clock is ahead, so many seconds after the fleet's start."""
        return self.clock_error_s + self.clock_drift_s_per_day * since_start_s / DAY_S


@dataclass(frozen=True, kw_only=True, slots=True)
class HardwareMix:
    """What machines a fleet has.

    Attributes:
      seconds_per_step: of the fastest and of the slowest; most lie nearer to the fastest, as with phones.
      full_storage: share of devices without room for a larger file.
      largest_file_bytes: of those.
      clock_error_s: no clock is further off than this at the start.
      clock_drift_s_per_day: no clock gains or loses more a day.
      kills_per_step: see `Hardware`.
      both_runtimes: whether half of the devices have another TFLite runtime.

    """

    seconds_per_step: tuple[float, float] = (0.4, 2.5)
    full_storage: float = 0.0
    largest_file_bytes: int = 50_000
    clock_error_s: float = 0.0
    clock_drift_s_per_day: float = 0.0
    kills_per_step: float = 0.0
    both_runtimes: bool = False


def draw_hardware(generator: random.Random, mix: HardwareMix) -> Hardware:
    """Draws one device's machine; the same numbers are drawn whatever the mix, so that devices can be compared."""
    fast, slow = mix.seconds_per_step
    speed, storage, error, drift, runtime, network = (generator.random() for _ in range(6))
    return Hardware(
        seconds_per_step=fast * (slow / fast) ** (speed**1.5),
        up_bytes_per_s=1e6 * (0.3 + 1.4 * network),
        down_bytes_per_s=4e6 * (0.3 + 1.4 * network),
        largest_file_bytes=mix.largest_file_bytes if storage < mix.full_storage else None,
        clock_error_s=mix.clock_error_s * (2 * error - 1),
        clock_drift_s_per_day=mix.clock_drift_s_per_day * (2 * drift - 1),
        kills_per_step=mix.kills_per_step,
        runtime=RUNTIMES[runtime < 0.5] if mix.both_runtimes else None,
    )
