"""What every command has in common: which service it is about, and errors in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import DatabaseError

from aggregation_service.backup import BackupError
from aggregation_service.clock import ClockError
from aggregation_service.config import CONFIG_VARIABLE, ConfigError
from aggregation_service.operations.shared import OperationError
from aggregation_service.privacy.ledger import UnknownEvent
from aggregation_service.storage.database import OutdatedDatabase
from aggregation_service.storage.dumps import DumpError
from protocol.errors import ProtocolError

_CLEAR = (
    BackupError,
    ClockError,
    ConfigError,
    DumpError,
    OSError,
    OperationError,
    OutdatedDatabase,
    ProtocolError,
    UnknownEvent,
    ValueError,
)
"""What an operator can mend, and whose text is one sentence."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
NUMBER = click.IntRange(0, (1 << 63) - 1)
"""Of a row: databases take no larger one."""

config_option = click.option(
    "--config",
    "config_path",
    envvar=CONFIG_VARIABLE,
    default="service/service.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The service's configuration file; also by {CONFIG_VARIABLE}.",
)

database_url_option = click.option(
    "--database-url",
    envvar="KEYCHORUS_DATABASE_URL",
    help="PostgreSQL's, postgresql://USER:PASSWORD@HOST/NAME; without: a SQLite file in FOLDER. "
    "With a password better by KEYCHORUS_DATABASE_URL, for others see command lines.",
)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turns what an operator can mend into one sentence, instead of a trace.

    Raises:
      ClickException: with that sentence.

    """
    try:
        yield
    except DatabaseError as error:  # whose own text goes over many lines
        raise click.ClickException(f"the database cannot be used: {error.orig}") from None
    except _CLEAR as error:
        raise click.ClickException(str(error)) from None
