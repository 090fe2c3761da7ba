"""What the sources share: readings held against thresholds, and commands asked with a time limit."""

import math
import subprocess
import time
from collections.abc import Mapping, Sequence

from device_runtime.conditions.interface import Reading, Unreadable
from device_runtime.conditions.thresholds import Thresholds

_MAX_OUTPUT_CHARACTERS = 4_000_000


def charge(percent: float, thresholds: Thresholds) -> Reading:
    """Whether a battery at `percent` is full enough.

    Raises:
      Unreadable: not a percentage.

    """
    if not 0 <= percent <= 100:
        raise Unreadable(f"the battery's charge must be in [0, 100] %, got {percent:g}")
    least = thresholds.minimum_battery_percent
    return Reading(percent >= least, f"battery at {percent:.0f} %, must be at least {least:g} %")


def temperature(what: str, celsius: float, limit_c: float) -> Reading:
    """Whether `what` is cool enough at `celsius`.

    Raises:
      Unreadable: nothing that works is as cold or as hot.

    """
    if not plausible(celsius):
        raise Unreadable(f"the temperature of the {what} must be in [-40, 150] °C, got {celsius:g}")
    return Reading(celsius <= limit_c, f"{what} at {celsius:.0f} °C, must be at most {limit_c:g} °C")


def plausible(celsius: float) -> bool:
    """Whether a sensor may mean it: some report 0 K or 255 °C where nothing is connected."""
    return -40 <= celsius <= 150


def no_limit(limit: float) -> Reading | None:
    """The reading of a condition whose limit is switched off, else None."""
    return Reading(True, "no limit is set") if limit == math.inf else None


def declared_network(thresholds: Thresholds) -> Reading | None:
    """The owner's word on the network, or None where the system shall be asked."""
    if thresholds.network == "auto":
        return None
    return Reading(thresholds.network == "unmetered", f"declared {thresholds.network} in the settings")


def ask_all(commands: Mapping[str, Sequence[str]], timeout_s: float) -> dict[str, str | Unreadable]:
    """Runs commands side by side and gives what each printed, or why there is nothing.

    Args:
      commands: argument lists by name; nothing goes through a shell of this machine.
      timeout_s: for all of them together; whoever takes longer is killed.

    """
    deadline = time.monotonic() + timeout_s
    started = {name: _start(command) for name, command in commands.items()}
    return {name: _collect(commands[name][0], process, deadline) for name, process in started.items()}


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes] | Unreadable":
    try:
        return subprocess.Popen(  # noqa: S603  # fixed commands, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return Unreadable(f"the command {command[0]} is not installed")
    except OSError as error:
        return Unreadable(f"the command {command[0]} cannot be run: {error.strerror}")


def _collect(name: str, process: "subprocess.Popen[bytes] | Unreadable", deadline: float) -> str | Unreadable:
    if isinstance(process, Unreadable):
        return process
    with process:
        try:
            output, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            process.kill()
            return Unreadable(f"the command {name} did not answer in time")
    if process.returncode != 0:
        return Unreadable(f"the command {name} failed with code {process.returncode}")
    return output[:_MAX_OUTPUT_CHARACTERS].decode(errors="replace")


def answer(answers: Mapping[str, str | Unreadable], name: str) -> str:
    """What a command of `ask_all` printed.

    Raises:
      Unreadable: it printed nothing usable.

    """
    found = answers[name]
    if isinstance(found, Unreadable):
        raise found
    return found
