"""Reads what Android's `dumpsys` prints, from Android 5 to 15. Pure: text in, readings out.

The formats are no interface and have changed; what is not found is unreadable, never guessed.
"""

import re

from device_runtime.conditions.interface import Reading, Unreadable
from device_runtime.conditions.probes import charge, no_limit, temperature
from device_runtime.conditions.thresholds import Thresholds

_FIELD = re.compile(r"^ {2}([A-Za-z][A-Za-z ]*): (-?\w+)\s*$", re.MULTILINE)
_WAKEFULNESS = re.compile(r"^\s*mWakefulness=(\w+)\s*$", re.MULTILINE)
_ASLEEP = ("Asleep", "Dozing", "Dreaming")
_DEFAULT_NETWORK = re.compile(r"^\s*Active default network: (\d{1,9}|none)\s*$", re.MULTILINE)
_CAPABILITIES = re.compile(r"\bCapabilities: ([A-Z0-9_&]+)")


class Battery:
    """The fields of `dumpsys battery`."""

    def __init__(self, text: str):
        # The first of a name wins: vendors add sections of their own below.
        self._fields = dict(reversed(_FIELD.findall(text)))

    def charging(self) -> Reading:
        """Whether any power source is connected; a device without a battery runs on one.

        Raises:
          Unreadable: no field says so.

        """
        if self._fields.get("present") == "false":
            return Reading(True, "no battery, so on mains")
        sources = {name: value for name, value in self._fields.items() if name.endswith(" powered")}
        if not sources:
            raise Unreadable("dumpsys battery names no power source")
        connected = [name.removesuffix(" powered") for name, value in sources.items() if value == "true"]
        return Reading(bool(connected), f"powered by {', '.join(connected) or 'the battery'}")

    def charged(self, thresholds: Thresholds) -> Reading:
        """Whether the battery is full enough.

        Raises:
          Unreadable: no level, or a scale that is none.

        """
        if self._fields.get("present") == "false":
            return Reading(True, "no battery")
        scale = self._number("scale")
        if scale <= 0:
            raise Unreadable(f"the battery's scale must be positive, got {scale}")
        return charge(100 * self._number("level") / scale, thresholds)

    def cool(self, thresholds: Thresholds) -> Reading:
        """Whether the battery is cool enough. Android gives tenths of a degree.

        Raises:
          Unreadable: no temperature, or an impossible one.

        """
        limit_c = thresholds.maximum_battery_temperature_c
        return no_limit(limit_c) or temperature("battery", self._number("temperature") / 10, limit_c)

    def _number(self, name: str) -> int:
        value = self._fields.get(name, "")
        if not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
            raise Unreadable(f"dumpsys battery gives no {name}")
        return int(value)


def idle(text: str) -> Reading:
    """Whether the screen sleeps, from `dumpsys power`.

    Raises:
      Unreadable: no wakefulness, or several that differ (a foldable with one half awake).

    """
    states = set(_WAKEFULNESS.findall(text))
    if len(states) != 1:
        raise Unreadable("dumpsys power does not say whether the screen sleeps")
    [state] = states
    return Reading(state in _ASLEEP, f"the device is {state.lower()[:20]}")


def unmetered(text: str) -> Reading:
    """Whether the default network is free, from `dumpsys connectivity`.

    A network's name is chosen by strangers and stands in the same line, so every list of capabilities in that line must
    agree: a name can then forbid, but not allow.

    Raises:
      Unreadable: no default network is named, or nothing is said about it.

    """
    found = _DEFAULT_NETWORK.search(text)
    if found is None:
        raise Unreadable("dumpsys connectivity names no default network")
    if found[1] == "none":
        return Reading(False, "no network")
    agent = next((line for line in text.splitlines() if _describes(line, found[1])), "")
    lists = [match.split("&") for match in _CAPABILITIES.findall(agent)]
    if not lists:
        raise Unreadable("dumpsys connectivity does not describe the default network")
    free = all("NOT_METERED" in capabilities for capabilities in lists)
    return Reading(free, f"Android calls the network {'unmetered' if free else 'metered'}")


def _describes(line: str, network: str) -> bool:
    return line.lstrip().startswith("NetworkAgentInfo") and f"network{{{network}}}" in line
