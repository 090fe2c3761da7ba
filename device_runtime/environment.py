"""What is injected into the device runtime: everything that is not computation.

The daemon passes the real things, the emulator a virtual clock and scripted conditions; the code between is the same.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests

from device_runtime.clock import Clock
from device_runtime.conditions import ConditionsSource
from device_runtime.network.breakable import BreakableAdapter


def new_session() -> requests.Session:
    """An HTTP session that takes nothing from its surroundings, and whose transfers can be broken off.

    With `trust_env`, requests would put passwords of a `.netrc` where our bearer token belongs.
    """
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, BreakableAdapter())
    return session


def never() -> bool:
    """The abort poll of a process that nobody stops."""
    return False


@dataclass(frozen=True, kw_only=True)
class DeviceEnvironment:
    """A device as its runtime sees it.

    Attributes:
      data_directory: holds everything that survives a restart; one device, one directory.
      conditions: where idle, charging and the others are read from.
      clock: seconds since 1970.
      http: connection pool; may be shared between devices of one thread.
      should_abort: polled before every training step; True ends the training at once, and with it the assignment.
      is_ending: polled everywhere; True means that this process is to end: what it does ends at once, and the next
        process takes it up again.
      jitter: uniform in [0, 1), spreads retries of many devices.

    """

    data_directory: Path
    conditions: ConditionsSource
    clock: Clock = time.time
    http: requests.Session = field(default_factory=new_session)
    should_abort: Callable[[], bool] = never
    is_ending: Callable[[], bool] = never
    jitter: Callable[[], float] = secrets.SystemRandom().random
