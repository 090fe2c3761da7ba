"""Conditions of an Android device or emulator, asked over `adb`."""

from collections.abc import Sequence

from device_runtime.conditions import dumpsys
from device_runtime.conditions.interface import Conditions, gather
from device_runtime.conditions.probes import answer, ask_all, declared_network
from device_runtime.conditions.thresholds import Thresholds

_SERVICES = ("battery", "power", "connectivity")


class AdbConditions:
    """The device that `adb` finds: the only one, or the one that ANDROID_SERIAL names."""

    def __init__(self, thresholds: Thresholds, *, adb: Sequence[str] = ("adb",), timeout_s: float = 3.0):
        """Asks nobody yet.

        Args:
          thresholds: what readings are held against.
          adb: the client and its options, such as `("adb", "-s", "emulator-5554")`.
          timeout_s: longest wait for the device; who is slower cannot be read.

        """
        self._thresholds = thresholds
        self._commands = {name: (*adb, "shell", "dumpsys", name) for name in _SERVICES}
        self._timeout_s = timeout_s

    def read(self) -> Conditions:
        """The conditions of this moment; takes as long as adb, at most `timeout_s`."""
        answers = ask_all(self._commands, self._timeout_s)

        def battery() -> dumpsys.Battery:
            return dumpsys.Battery(answer(answers, "battery"))

        return gather(
            {
                "idle": lambda: dumpsys.idle(answer(answers, "power")),
                "charging": lambda: battery().charging(),
                "unmetered": lambda: (
                    declared_network(self._thresholds) or dumpsys.unmetered(answer(answers, "connectivity"))
                ),
                "charged": lambda: battery().charged(self._thresholds),
                "cool": lambda: battery().cool(self._thresholds),
            }
        )
