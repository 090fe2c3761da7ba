"""A phone for tests: an `adb` that replays what real devices printed."""

import shutil
from pathlib import Path

import pytest

DUMPS = Path(__file__).parents[1] / "device_runtime" / "conditions" / "dumps"
ADB = """#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> asked
[ "$1" = -s ] && shift 2
if [ -f error ]; then cat error >&2; exit 1; fi
case "$1" in
  get-state) echo device ;;
  shell) cat "$3.txt" ;;
esac
"""


class RecordedPhone:
    """Says what is recorded; `adb` is the program to ask."""

    def __init__(self, folder):
        self.folder = folder
        self.adb = str(folder / "adb")
        (folder / "adb").write_text(ADB)
        (folder / "adb").chmod(0o755)
        self.lie_on_the_charger()

    def lie_on_the_charger(self):
        self._say(battery="battery_5", power="power_5_asleep", connectivity="connectivity_14_emulator")

    def go_for_a_walk(self):
        self._say(battery="battery_14", power="power_14_awake", connectivity="connectivity_12_none")

    def fail(self, error):
        (self.folder / "error").write_text(error)

    @property
    def asked(self):
        """The arguments of each call so far, without options; the order of a reading's three says nothing."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def _say(self, **dumps):
        for service, name in dumps.items():
            shutil.copy(DUMPS / f"{name}.txt", self.folder / f"{service}.txt")


@pytest.fixture
def phone(tmp_path):
    folder = tmp_path / "phone"
    folder.mkdir()
    return RecordedPhone(folder)
