"""What devices download of a model version: which file it is, and which versions training led to."""

from sqlalchemy import Connection, select, update

from aggregation_service.storage.tables import checkpoints, rounds, tasks


def trained_versions(connection: Connection, population: str, first: int, last: int) -> set[int]:
    """The model versions in [first, last] that a training round led to; an operator gave the others."""
    closed = select(rounds.c.model_version + 1).join(tasks, tasks.c.id == rounds.c.task_id)
    closed = closed.where(rounds.c.population == population, rounds.c.phase == "closed", tasks.c.kind == "training")
    return set(connection.scalars(closed.where(rounds.c.model_version.between(first - 1, last - 1))))


def set_served(connection: Connection, population: str, model_version: int, sha256: str) -> None:
    """Notes the file that devices train from."""
    version = (checkpoints.c.population == population) & (checkpoints.c.model_version == model_version)
    connection.execute(update(checkpoints).where(version).values(served_sha256=sha256))
