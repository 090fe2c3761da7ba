"""The privacy statement that goes out with a release: of all that the ledger holds when the release is signed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, case, select

from aggregation_service.privacy.disclosures import RoundFacts
from aggregation_service.privacy.ledger import LedgerEvent, ReleasesLost, decode_event
from aggregation_service.privacy.ledger_chain import GENESIS, BrokenLedger, check_chain
from aggregation_service.privacy.statement import (
    Circumstances,
    PrivacyStatement,
    make_statement,
    untrained_statement,
)
from aggregation_service.rounds.combining import Mean
from aggregation_service.rounds.state import Phase
from aggregation_service.storage import books, models
from aggregation_service.storage.clipping_states import clipping_of
from aggregation_service.storage.files import put_file
from aggregation_service.storage.models import Task
from aggregation_service.storage.rounds import with_round_plan
from aggregation_service.storage.tables import ledger, rounds
from protocol.manifest import FileEntry

STATEMENT_FILE = "privacy_statement"
"""The file of a release that says what its training, its evaluation and all else of its population cost in privacy."""


def current_statement(connection: Connection, population: str, delta: float) -> PrivacyStatement | None:
    """What the population's rounds cost so far, by its newest training task; None if nothing was released from devices.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    statement = state_now(connection, population, delta)
    return statement if statement.released else None


def state_now(connection: Connection, population: str, delta: float) -> PrivacyStatement:
    """What a release that is signed now must say: as `current_statement`, or that nothing of it is from devices.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    events, head = _read_ledger(connection, population)
    if not events:
        return untrained_statement(delta, ledger_head=head)
    return make_statement(events, read_circumstances(connection, population), delta=delta, ledger_head=head)


def put_statement(connection: Connection, population: str, delta: float) -> FileEntry:
    """Stores the statement as it is true now, to be signed.

    Raises:
      UnknownEvent: as `state_now`; nothing is released whose cost cannot be told.
      BrokenLedger: rows are not what was written, or cut off: what they say may be too little.

    """
    check_chain(books.ledger_rows(connection))
    check_closed_rounds(connection, population, books.list_events(connection, population))
    return put_file(connection, msgspec.json.encode(state_now(connection, population, delta)))


def check_closed_rounds(connection: Connection, population: str, events: Iterable[LedgerEvent]) -> None:
    """Checks that every closed round has its event: a round closes after that, so one without shows a cut-off end.

    Raises:
      BrokenLedger: names the first round without.

    """
    booked = {event.round_id for event in events if not isinstance(event, ReleasesLost)}
    closed = (rounds.c.population == population) & (rounds.c.phase == Phase.CLOSED.value)
    for row in connection.execute(select(rounds.c.id, rounds.c.number).where(closed).order_by(rounds.c.number)):
        if row.id not in booked:
            raise BrokenLedger(f"round {row.number} of {population} closed, and the ledger has no row of it")


def read_circumstances(connection: Connection, population: str) -> Circumstances:
    """What the population's tasks say of all its rounds until now."""
    with_devices = (rounds.c.population == population) & (rounds.c.selected > 0)
    norm = rounds.c.l2_clip_norm
    manifest = case((norm.is_not(None), rounds.c.manifest)).label("manifest")  # all others have their task's plan
    rows = connection.execute(select(rounds.c.id, rounds.c.task_id, norm, manifest).where(with_devices)).all()
    tasks = {task_id: models.get_task(connection, task_id) for task_id in {row.task_id for row in rows}}
    newest = models.newest_task(connection, population)
    return Circumstances(
        report_goal=newest.plan.privacy.report_goal if newest else 0,
        minimum_separation_s=newest.plan.privacy.minimum_separation_s if newest else 0.0,
        robust_rules=_robust_rules(tasks.values()),
        rounds=_facts_of_rounds(rows, tasks),
    )


def _read_ledger(connection: Connection, population: str) -> tuple[list[LedgerEvent], str]:
    """The population's events, and the hash of the newest row of all populations, which covers them and no others.

    What another transaction appends in between is in neither.
    """
    newest = connection.execute(
        select(ledger.c.id, ledger.c.sha256).order_by(ledger.c.id.desc()).limit(1)
    ).one_or_none()
    if newest is None:
        return [], GENESIS
    covered = (ledger.c.population == population) & (ledger.c.id <= newest.id)
    texts = connection.scalars(select(ledger.c.event).where(covered).order_by(ledger.c.id))
    return [decode_event(text) for text in texts], newest.sha256


def _facts_of_rounds(rows: Sequence[Row[Any, Any, Any, Any]], tasks: Mapping[int, Task]) -> dict[str, RoundFacts]:
    usual = {task_id: _facts(task) for task_id, task in tasks.items()}
    return {
        row.id: usual[row.task_id]
        if row.l2_clip_norm is None
        else _facts(with_round_plan(tasks[row.task_id], row.l2_clip_norm, row.manifest))
        for row in rows
    }


def _facts(task: Task) -> RoundFacts:
    secure = task.plan.secure_aggregation
    return RoundFacts(
        plan_sha256=task.plan_file.sha256,
        kind=task.kind,
        l2_sensitivity=task.plan.l2_sensitivity,
        separation_rounds=task.parameters.separation_rounds,
        participation_limit=task.parameters.max_participations,
        adversary_fraction=secure.adversary_fraction if secure else 0.0,
        dropout_fraction=secure.dropout_fraction if secure else 0.0,
        clipping=clipping_of(task),
    )


def _robust_rules(tasks: Iterable[Task]) -> tuple[str, ...]:
    """Names of the rules for which updates of any round were kept, be it closed or not."""
    trained = (task.parameters.combining for task in tasks if task.kind == "training")
    return tuple(sorted({rule.name for rule in trained if not isinstance(rule, Mean)}))
