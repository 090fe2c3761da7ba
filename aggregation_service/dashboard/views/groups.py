"""Groups of secure aggregation: how those of the newest rounds ended, and where their members dropped out."""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from aggregation_service.dashboard.views.rounds import CHARTED_ROUNDS
from aggregation_service.rounds.groups import STAGES_UNDER_WAY, GroupFailure
from aggregation_service.storage.tables import rounds, secure_groups

_CUT_SHORT = (GroupFailure.ROUND_OVER, GroupFailure.KEY_LOST)
"""By which a stage ends before its time: who had not answered did not drop out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupsView:
    """The groups of a population's newest rounds.

    Attributes:
      total: how many there are.
      members: of all of them.
      by_stage: groups by where they stand: under way, done, or why they failed.
      drop_outs: members by the stage at which they did not answer, of groups that have ended.

    """

    total: int
    members: int
    by_stage: tuple[tuple[str, int], ...]
    drop_outs: tuple[tuple[str, int], ...]


def read_groups(connection: Connection, population: str) -> GroupsView:
    """The groups of the newest `CHARTED_ROUNDS` rounds."""
    newest = select(rounds.c.id).where(rounds.c.population == population)
    newest = newest.order_by(rounds.c.number.desc()).limit(CHARTED_ROUNDS)
    found = connection.execute(select(secure_groups).where(secure_groups.c.round_id.in_(newest))).all()
    stages = Counter(str(row.failed_because or row.stage) for row in found)
    lost: Counter[str] = Counter()
    for row in found:
        if row.ended_at is not None:
            lost.update(_drop_outs(row))
    return GroupsView(
        total=len(found),
        members=sum(row.members for row in found),
        by_stage=tuple(stages.most_common()),
        drop_outs=tuple((stage.value, lost[stage.value]) for stage in STAGES_UNDER_WAY if lost[stage.value]),
    )


def _drop_outs(row: Row[Any]) -> dict[str, int]:
    """How many did not answer at each stage that ran to its end."""
    answered = (row.shared, row.masked, row.confirmed, row.unmasked)  # None until the stage has begun
    begun = [row.members, *(count for count in answered if count is not None)]
    if row.failed_because in _CUT_SHORT:
        del begun[-1]
    pairs = zip(STAGES_UNDER_WAY, itertools.pairwise(begun), strict=False)
    return {stage.value: before - after for stage, (before, after) in pairs}
