"""The conditions of a running Android emulator or an attached phone, in place of made-up ones.

All devices of the fleet lie where that phone lies. What will be, nobody knows: such a fleet lives in real time.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from device_runtime.conditions import Conditions
from device_runtime.conditions.android_adb import AdbConditions
from device_runtime.conditions.interface import ConditionsSource, NeverEligible
from device_runtime.conditions.thresholds import Thresholds

ASKED_EVERY_S = 5.0
_REACH_TIMEOUT_S = 20.0
"""adb may have to start its server first."""
_MOST_SHOWN = 200
"""characters of what adb says."""


class NoPhone(Exception):
    """No phone can be asked. The message says what adb says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhoneTrace:
    """A phone's surroundings as they are now, whatever time is asked for.

    Attributes:
      adb: the client and its options, such as `("adb", "-s", "emulator-5554")`.
      every_s: each process of the fleet asks at most once in so long.

    """

    adb: tuple[str, ...] = ("adb",)
    every_s: float = ASKED_EVERY_S

    def conditions(self, at: float) -> Conditions:
        """The newest reading; what cannot be read does not hold."""
        return _newest(self).read()

    def next_eligible(self, at: float) -> float | None:
        """`at` if all conditions hold, otherwise when to ask again."""
        return at if self.conditions(at).eligible else at + self.every_s


def require_phone(adb: Sequence[str]) -> None:
    """Checks that adb finds exactly the phone that is meant, and that it answers.

    Raises:
      NoPhone: see there.

    """
    command = [*adb, "get-state"]
    try:
        asked = subprocess.run(  # noqa: S603  # no shell
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_REACH_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise NoPhone(f"adb must be installed or named by --adb-path, got {adb[0]}") from None
    except OSError as error:
        raise NoPhone(f"{adb[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NoPhone(f"{' '.join(command)} must answer within {_REACH_TIMEOUT_S:.0f} s") from None
    state = asked.stdout.decode(errors="replace").strip()
    if asked.returncode or state != "device":
        told = [line for line in asked.stderr.decode(errors="replace").splitlines() if not line.startswith("*")]
        raise NoPhone(f'{" ".join(command)} must say "device", got "{(told or [state])[0][:_MOST_SHOWN]}"')


class Newest:
    """The newest reading of a source that is not to be asked often."""

    def __init__(self, source: ConditionsSource, every_s: float, monotonic: Callable[[], float] = time.monotonic):
        self._source = source
        self._every_s = every_s
        self._monotonic = monotonic
        self._asked_at = -float("inf")
        self._said = NeverEligible().read()

    def read(self) -> Conditions:
        """Asks, unless that was done less than `every_s` ago."""
        now = self._monotonic()
        if now - self._asked_at >= self._every_s:
            self._asked_at, self._said = now, self._source.read()
        return self._said


@cache
def _newest(phone: PhoneTrace) -> Newest:
    """One for all devices of a process."""
    return Newest(AdbConditions(Thresholds(), adb=phone.adb), phone.every_s)
