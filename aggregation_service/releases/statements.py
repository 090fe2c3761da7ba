"""The privacy statement that goes out with a release: of all that the ledger holds when the release is signed."""

import msgspec
from sqlalchemy import Connection, select

from aggregation_service.privacy.statement import PrivacyStatement, make_statement, untrained_statement
from aggregation_service.rounds.combining import Mean
from aggregation_service.storage import books, models
from aggregation_service.storage.files import put_file
from aggregation_service.storage.tables import rounds
from protocol.manifest import FileEntry

STATEMENT_FILE = "privacy_statement"
"""The file of a release that says what its training, its evaluation and all else of its population cost in privacy."""


def current_statement(connection: Connection, population: str, delta: float) -> PrivacyStatement | None:
    """What the population's rounds cost so far, by its newest training task; None if nothing was released from devices.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    events = books.list_events(connection, population)
    task = models.newest_task(connection, population)
    if not events or task is None:
        return None
    privacy = task.plan.privacy
    return make_statement(
        events,
        report_goal=privacy.report_goal,
        minimum_separation_s=privacy.minimum_separation_s,
        delta=delta,
        robust_rules=_robust_rules(connection, population),
    )


def _robust_rules(connection: Connection, population: str) -> list[str]:
    """Names of the rules for which updates of any round were kept, be it closed or not."""
    with_devices = (rounds.c.population == population) & (rounds.c.selected > 0)
    task_ids = connection.scalars(select(rounds.c.task_id).where(with_devices).distinct()).all()
    found = (models.get_task(connection, task_id) for task_id in task_ids)
    trained = [task.parameters.combining for task in found if task.kind == "training"]
    return sorted({rule.name for rule in trained if not isinstance(rule, Mean)})


def put_statement(connection: Connection, population: str, delta: float) -> FileEntry:
    """Stores the statement as it is true now.

    Raises:
      UnknownEvent: as `current_statement`; nothing is released whose cost cannot be told.

    """
    statement = current_statement(connection, population, delta) or untrained_statement(delta)
    return put_file(connection, msgspec.json.encode(statement))
