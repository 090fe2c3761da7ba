"""The person's switches, kept in the log's database so that every process sees a change at once."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS denied_apps (app TEXT PRIMARY KEY) STRICT;
"""
MAX_APP_CHARS = 200
"""Longer names of apps are cut; no system has such."""


@dataclass(frozen=True, kw_only=True)
class Switches:
    """What a person allows.

    Attributes:
      consent: what is typed is logged; off until the person switches it on.
      paused: logging rests.
      incognito: the keyboard is in incognito mode.
      personal: suggestions learn the person's own words.
      deny_list: names of apps from which nothing is logged; upper and lower case are the same.

    """

    consent: bool = False
    paused: bool = False
    incognito: bool = False
    personal: bool = True
    deny_list: frozenset[str] = field(default_factory=frozenset)

    def denies(self, app: str) -> bool:
        """Whether nothing from `app` may be logged."""
        return clean_app(app).casefold() in {denied.casefold() for denied in self.deny_list}


SWITCH_NAMES = ("consent", "paused", "incognito", "personal")
"""Those that are on or off."""


def read_switches(connection: sqlite3.Connection) -> Switches:
    """The switches as they are; those never turned have their defaults."""
    turned = {name: bool(value) for name, value in connection.execute("SELECT name, value FROM settings")}
    denied = frozenset(app for (app,) in connection.execute("SELECT app FROM denied_apps"))
    return Switches(**{name: turned[name] for name in SWITCH_NAMES if name in turned}, deny_list=denied)


def write_switches(connection: sqlite3.Connection, switches: Switches) -> None:
    """Keeps all of `switches`, within the caller's transaction."""
    for name in SWITCH_NAMES:
        write_setting(connection, name, int(getattr(switches, name)))
    write_deny_list(connection, switches.deny_list)


def write_deny_list(connection: sqlite3.Connection, apps: Iterable[str]) -> None:
    """Replaces the deny list, within the caller's transaction."""
    connection.execute("DELETE FROM denied_apps")
    connection.executemany("INSERT OR IGNORE INTO denied_apps VALUES (?)", [(clean_app(app),) for app in apps])


def read_setting(connection: sqlite3.Connection, name: str) -> int | None:
    """A number kept under `name`; None if there is none."""
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def write_setting(connection: sqlite3.Connection, name: str, value: int | None) -> None:
    """Keeps a number under `name`, or forgets it for None, within the caller's transaction."""
    if value is None:
        connection.execute("DELETE FROM settings WHERE name = ?", (name,))
    else:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


def clean_app(app: str) -> str:
    """An app's name as it is kept: UTF-8, without space around it, at most `MAX_APP_CHARS`."""
    return app.encode("utf-8", "replace").decode("utf-8").strip()[:MAX_APP_CHARS]
