"""The person's switches as attributes of the log: what one process turns, all others see at once."""

import sqlite3
from collections.abc import Iterable

from device_runtime.storage.set_aside import is_full
from device_runtime.storage.sqlite_file import SqliteFile
from device_runtime.typing_log.switches import Switches, read_switches, write_deny_list, write_setting


class SwitchBoard:
    """Reads and turns the switches in a log's database. Turning one raises what `SqliteFile.write` does."""

    def __init__(self, file: SqliteFile):
        self._file = file

    @property
    def switches(self) -> Switches:
        """All switches as they are now, whichever process turned them; the defaults if the disk is too full to begin.

        Raises:
          sqlite3.OperationalError: the log cannot be read.

        """
        try:
            return self._file.read(read_switches)
        except (sqlite3.OperationalError, OSError) as error:
            if not is_full(error):
                raise
            return Switches()

    @property
    def consent(self) -> bool:
        """Whether the person switched logging on; off until then. What is logged stays when it is switched off."""
        return self.switches.consent

    @consent.setter
    def consent(self, given: bool) -> None:
        self._turn("consent", on=given)

    @property
    def paused(self) -> bool:
        """Whether logging rests."""
        return self.switches.paused

    @paused.setter
    def paused(self, on: bool) -> None:
        self._turn("paused", on=on)

    @property
    def incognito(self) -> bool:
        """Whether the keyboard is in incognito mode."""
        return self.switches.incognito

    @incognito.setter
    def incognito(self, on: bool) -> None:
        self._turn("incognito", on=on)

    @property
    def personal(self) -> bool:
        """Whether suggestions learn the person's own words."""
        return self.switches.personal

    @personal.setter
    def personal(self, on: bool) -> None:
        self._turn("personal", on=on)

    @property
    def deny_list(self) -> frozenset[str]:
        """Names of the apps from which nothing is logged."""
        return self.switches.deny_list

    @deny_list.setter
    def deny_list(self, apps: Iterable[str]) -> None:
        names = list(apps)
        self._file.write(lambda connection: write_deny_list(connection, names))

    def _turn(self, name: str, *, on: bool) -> None:
        self._file.write(lambda connection: write_setting(connection, name, int(on)))
