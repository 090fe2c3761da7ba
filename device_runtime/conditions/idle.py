"""Idle: nobody has typed for a while, and the processor has nothing else to do."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from device_runtime.activity import last_keystroke, note_keystroke
from device_runtime.conditions.interface import Reading, Unreadable
from device_runtime.conditions.thresholds import Thresholds

LOAD_WINDOW_S = 60.0
"""The kernel's shortest load average decays by 1/e in so long."""


class LoadOfOthers:
    """The one-minute load average without this process's own share: training must not count as being busy.

    Guarantees:
      in [0, load average]. The own share is averaged as the kernel averages the load, from the process's CPU seconds.
    """

    def __init__(
        self,
        load: Callable[[], float] | None = None,
        own_cpu_s: Callable[[], float] = time.process_time,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        self._load = load or (lambda: float(psutil.getloadavg()[0]))
        self._own_cpu_s = own_cpu_s
        self._monotonic = monotonic
        self._share = 0.0
        self._last = monotonic(), own_cpu_s()

    def read(self) -> float:
        """Processes of others that ran or wanted to, averaged over the last minute.

        Raises:
          OSError: the system does not tell.

        """
        now, cpu_s = self._monotonic(), self._own_cpu_s()
        elapsed_s = now - self._last[0]
        if elapsed_s > 0:
            decay = math.exp(-elapsed_s / LOAD_WINDOW_S)
            self._share = decay * self._share + (1 - decay) * (cpu_s - self._last[1]) / elapsed_s
            self._last = now, cpu_s
        return max(self._load() - self._share, 0.0)


class IdleProbe:
    """Idle by the last keystroke and the load."""

    def __init__(
        self,
        data_directory: Path,
        thresholds: Thresholds,
        clock: Callable[[], float] = time.time,
        load: LoadOfOthers | None = None,
    ):
        self._data_directory = data_directory
        self._thresholds = thresholds
        self._clock = clock
        self._load = load or LoadOfOthers()

    def __call__(self) -> Reading:
        """Whether nobody uses the device.

        Raises:
          Unreadable: the load cannot be read, and is not left out.
          OSError: the time of the last keystroke cannot be read.

        """
        typed = self._typed()
        if not typed.holds or self._thresholds.maximum_load == math.inf:
            return typed
        try:
            load = self._load.read()
        except OSError:
            raise Unreadable("the load cannot be read; maximum_load = inf leaves it out") from None
        most = self._thresholds.maximum_load
        return Reading(load <= most, f"{typed.why}, load of others {load:.2f}, must be at most {most:g}")

    def _typed(self) -> Reading:
        last, now = last_keystroke(self._data_directory), self._clock()
        if last is None:
            return Reading(True, "no key was ever pressed")
        if last > now + 1:  # the clock was turned back: how long ago is not known, so the wait begins anew
            note_keystroke(self._data_directory, now)
            last = now
        idle_s, least_s = max(now - last, 0.0), self._thresholds.idle_minutes * 60
        return Reading(idle_s >= least_s, f"last key {idle_s:.0f} s ago, must be at least {least_s:.0f}")
