"""What the operators' functions share: the error they raise, and how they reach the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from aggregation_service.config import ServiceConfig
from aggregation_service.storage import models
from aggregation_service.storage.database import Database
from aggregation_service.storage.files import find_content
from protocol.manifest import MAX_FILE_BYTES
from protocol.plan import Plan
from protocol.weights import Weights, decode_checkpoint


class OperationError(Exception):
    """Something an operator asked for that cannot be done. The message says why, in one sentence."""


@contextmanager
def opened(config: ServiceConfig) -> Iterator[Database]:
    """The service's database, closed at the end."""
    database = Database(config.database_url)
    try:
        yield database
    finally:
        database.close()


def require_population(connection: Connection, name: str) -> None:
    """Raises `OperationError`, which names the command that adds it, unless the population exists."""
    if not models.has_population(connection, name):
        raise OperationError(f"there is no population {name}; `keychorus service population add {name}` makes it")


def newest_checkpoint(connection: Connection, population: str) -> models.Checkpoint:
    """The newest model version. Raises `OperationError` where there is none."""
    checkpoint = models.newest_checkpoint(connection, population)
    if checkpoint is None:
        raise OperationError(f"population {population} has no weights to start from")
    return checkpoint


def read_checkpoint(connection: Connection, population: str, plan: Plan) -> tuple[int, Weights]:
    """The newest model version and its weights. Raises `OperationError` where there are none."""
    checkpoint = newest_checkpoint(connection, population)
    content = find_content(connection, checkpoint.file_sha256)
    if content is None:
        raise OperationError(f"the file of model version {checkpoint.model_version} is missing")
    return checkpoint.model_version, decode_checkpoint(content, plan.tensors)


def check_size(name: str, content: bytes | None) -> None:
    """Raises `OperationError` unless the file fits a manifest, or is None."""
    if content is not None and not 1 <= len(content) <= MAX_FILE_BYTES:
        raise OperationError(f"file {name} must have 1 to {MAX_FILE_BYTES} bytes, got {len(content)}")
