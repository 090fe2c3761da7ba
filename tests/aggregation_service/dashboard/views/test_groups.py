"""What operators see of groups: where they stand, and at which stage members dropped out."""

from typing import Any

import pytest

from aggregation_service.dashboard.views.groups import read_groups
from aggregation_service.storage.tables import secure_groups


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def add_group(rehearsal: Any, number: int, **columns: Any) -> None:
    round_id = rehearsal.selected.round_id
    usual = {"id": f"{number:032x}", "round_id": round_id, "stage": "done", "ends_at": 0.0, "awaited": 0, "answered": 0}
    row = {**usual, "members": 10, "formed_at": 1.0, "ended_at": 2.0, **columns}
    with rehearsal.service.database.write() as connection:
        connection.execute(secure_groups.insert().values(row))


def test_stages_and_drop_outs_are_counted(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    rehearsal.selected = rehearsal.select()
    add_group(rehearsal, 1, shared=9, masked=8, confirmed=8, unmasked=6)
    add_group(rehearsal, 2, shared=10, masked=3, stage="failed", failed_because="too_few")
    add_group(rehearsal, 3, shared=10, masked=0, stage="failed", failed_because="too_few")
    add_group(rehearsal, 4, shared=7, stage="failed", failed_because="round_over")
    add_group(rehearsal, 5, shared=4, stage="sharing", ended_at=None)
    with rehearsal.service.database.read() as connection:
        view = read_groups(connection, "en-gb")
        assert read_groups(connection, "de").total == 0
    assert (view.total, view.members) == (5, 50)
    assert dict(view.by_stage) == {"done": 1, "too_few": 2, "round_over": 1, "sharing": 1}
    assert dict(view.drop_outs) == {"sharing": 1, "masking": 1 + 7 + 10, "unmasking": 2}
