"""An empty log with consent, and a look at its raw files past the log itself."""

import contextlib
import sqlite3

import pytest

from device_runtime.typing_log import TypingLog


class RawFiles:
    """The folder of a log, as a thief finds it."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "log.sqlite"

    def content(self):
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())

    def execute(self, statement, *values):
        with contextlib.closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(statement, values).fetchall()

    def sealed(self):
        return [row[0] for row in self.execute("SELECT sealed FROM messages ORDER BY at")]

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def raw(tmp_path):
    return RawFiles(tmp_path)


@pytest.fixture
def open_log(tmp_path, clock):
    """Opens the one log of a test, as often as processes would; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_log(**options):
            return stack.enter_context(TypingLog(tmp_path / "log.sqlite", **({"clock": clock} | options)))

        yield open_log


@pytest.fixture
def empty_log(open_log):
    log = open_log()
    log.consent = True
    return log
