"""Conditions of an Android phone, asked from inside: Termux with the Termux:API add-on."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from device_runtime.conditions.idle import IdleProbe
from device_runtime.conditions.interface import Conditions, Reading, Unreadable, gather
from device_runtime.conditions.probes import answer, ask_all, charge, declared_network, no_limit, temperature
from device_runtime.conditions.thresholds import Thresholds

_BATTERY = "termux-battery-status"
_WIFI = "termux-wifi-connectioninfo"
_TELEPHONY = "termux-telephony-deviceinfo"
_PLUGGED = ("PLUGGED_AC", "PLUGGED_USB", "PLUGGED_WIRELESS", "PLUGGED_DOCK")

AnswerT = TypeVar("AnswerT")
Number = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class _Battery(msgspec.Struct):
    """What `termux-battery-status` prints, as far as we need it; newer versions print more."""

    plugged: str
    percentage: Number
    temperature: Number | None = None


class _Wifi(msgspec.Struct):
    """What `termux-wifi-connectioninfo` prints, as far as we need it: no name and no address of a network."""

    supplicant_state: str


class _Telephony(msgspec.Struct):
    """What `termux-telephony-deviceinfo` prints; without the permission it prints an error instead."""

    data_state: str


class TermuxConditions:
    """The phone that this process runs on."""

    def __init__(
        self,
        data_directory: Path,
        thresholds: Thresholds,
        *,
        clock: Callable[[], float] = time.time,
        idle: Callable[[], Reading] | None = None,
        timeout_s: float = 3.0,
    ):
        self._thresholds = thresholds
        self._idle = idle or IdleProbe(data_directory, thresholds, clock)
        self._timeout_s = timeout_s

    def read(self) -> Conditions:
        """The conditions of this moment; takes as long as Termux:API, at most `timeout_s`."""
        answers = ask_all({name: (name,) for name in (_BATTERY, _WIFI, _TELEPHONY)}, self._timeout_s)

        def battery() -> _Battery:
            return _decode(answers, _BATTERY, _Battery)

        return gather(
            {
                "idle": self._idle,
                "charging": lambda: _charging(battery()),
                "unmetered": lambda: declared_network(self._thresholds) or _unmetered(answers),
                "charged": lambda: charge(battery().percentage, self._thresholds),
                "cool": lambda: self._cool(battery()),
            }
        )

    def _cool(self, battery: _Battery) -> Reading:
        limit_c = self._thresholds.maximum_battery_temperature_c
        if unlimited := no_limit(limit_c):
            return unlimited
        if battery.temperature is None:
            raise Unreadable(f"{_BATTERY} gives no temperature")
        return temperature("battery", battery.temperature, limit_c)


def _charging(battery: _Battery) -> Reading:
    if battery.plugged == "UNPLUGGED":
        return Reading(False, "on battery")
    if battery.plugged not in _PLUGGED:
        raise Unreadable(f"{_BATTERY} does not say whether the phone is plugged in")
    return Reading(True, f"powered by {battery.plugged.removeprefix('PLUGGED_')}")


def _unmetered(answers: Mapping[str, str | Unreadable]) -> Reading:
    """Wi-Fi without mobile data beside it. Termux does not see a Wi-Fi that its owner has marked as metered."""
    if _decode(answers, _WIFI, _Wifi).supplicant_state != "COMPLETED":
        return Reading(False, "not on Wi-Fi")
    try:
        mobile = _decode(answers, _TELEPHONY, _Telephony).data_state
    except Unreadable:  # a tablet without telephony, or no permission: Android prefers the Wi-Fi anyway
        mobile = "unknown"
    if mobile in ("connected", "connecting"):
        return Reading(False, "mobile data is on beside Wi-Fi")
    return Reading(True, f"on Wi-Fi, mobile data {mobile[:20]}")


def _decode(answers: Mapping[str, str | Unreadable], name: str, kind: type[AnswerT]) -> AnswerT:
    try:
        return msgspec.json.decode(answer(answers, name), type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Unreadable(f"{name} printed something else than expected; is the Termux:API app installed?") from None
