"""What must be true of the books of secure rounds, whatever was killed when."""

from collections import Counter

import numpy as np
from chaos.secure_crowd import SecureCrowd
from chaos.site import Site
from chaos.verdict import check_rounds, read_participations
from sqlalchemy import func, select

from aggregation_service.rounds.groups import GroupFailure
from aggregation_service.storage.tables import assignments, masked_sums, secure_groups, secure_members, secure_messages
from protocol.arrays import FloatArray

EXPLAINED = {GroupFailure.TOO_FEW, GroupFailure.ROUND_OVER, GroupFailure.KEY_LOST}
"""By what kills and drop-outs do; sums and books that disagree are not among it."""

Counted = dict[str, set[int]]
"""The devices that the service says it counted, by round or by group."""


def check_secure_books(site: Site, crowd: SecureCrowd) -> tuple[Counter[str], Counter[str]]:
    """Checks every round, every group, and the participations.

    Returns:
      How many rounds ended how, and how many groups.

    """
    by_round, by_group = read_counted(site)

    def check_round(round_id: str, num_reported: int, change: FloatArray) -> None:
        counted = by_round.get(round_id, set())
        assert len(counted) == num_reported, f"round {round_id} counted {len(counted)} and says {num_reported}"
        check_sum(crowd, round_id, counted, change)

    rounds = check_rounds(site, check_round)
    groups = check_groups(site, crowd, by_group)
    booked = Counter(site.device_ids[number] for numbers in by_round.values() for number in numbers)
    assert booked == Counter(read_participations(site)), "participations are not those that were counted"
    assert not crowd.unexpected, crowd.unexpected
    return rounds, groups


def check_sum(crowd: SecureCrowd, round_id: str, counted: set[int], change: FloatArray) -> None:
    """The sum is that of the inputs of whom the service counted, each exactly once.

    Inputs are integers, and what they stand for is a rotation of them, scaled: another sum would be away by a whole
    step at least, and float32 weights by far less.
    """
    silent = {number for number in counted if (round_id, number) not in crowd.sent}
    assert not silent, f"round {round_id} counted devices that sent nothing: {silent}"
    expected = np.sum([crowd.sent[round_id, number] for number in counted], axis=0)
    quantiser = crowd.site.plan.quantiser
    assert quantiser is not None
    off = float(np.linalg.norm(change.ravel() - expected)) * quantiser.scale
    assert off < 0.5, f"round {round_id} is {off:.3f} steps away from the sum of the {len(counted)} that it counted"


def check_groups(site: Site, crowd: SecureCrowd, by_group: Counted) -> Counter[str]:
    """Every group ended in the open; those that are done lost no acknowledged input, the others counted none."""
    with site.database.read() as connection:
        rows = connection.execute(select(secure_groups)).all()
        members = connection.execute(
            select(secure_members.c.group_id, assignments.c.device_id).join(
                assignments, assignments.c.id == secure_members.c.assignment_id
            )
        ).all()
        assert not connection.scalar(select(func.count()).select_from(masked_sums)), "masked sums outlive their groups"
        kept = select(func.count()).where(secure_messages.c.content.is_not(None))
        assert not connection.scalar(kept), "shares or keys outlive their groups"
    of_group: dict[str, set[int]] = {row.id: set() for row in rows}
    for group_id, device_id in members:
        if group_id is not None:
            of_group[group_id].add(site.device_ids.index(device_id))
    for row in rows:
        counted = by_group.get(row.id, set())
        if row.stage == "done":
            acknowledged = {number for number in of_group[row.id] if (row.round_id, number) in crowd.acknowledged}
            assert acknowledged <= counted, f"group {row.id} lost acknowledged inputs: {acknowledged - counted}"
        else:
            assert row.stage == "failed", f"group {row.id} is stuck at {row.stage}"
            assert row.failed_because in EXPLAINED, f"group {row.id} failed because of {row.failed_because}"
            assert not counted, f"group {row.id} failed and counted {counted}"
    return Counter(row.failed_because or row.stage for row in rows)


def read_counted(site: Site) -> tuple[Counted, Counted]:
    """Whom the service says it counted, by round and by group."""
    reported = select(assignments.c.round_id, assignments.c.device_id, secure_members.c.group_id)
    reported = reported.outerjoin(secure_members, secure_members.c.assignment_id == assignments.c.id)
    by_round: Counted = {}
    by_group: Counted = {}
    with site.database.read() as connection:
        for round_id, device_id, group_id in connection.execute(reported.where(assignments.c.reported)):
            number = site.device_ids.index(device_id)
            by_round.setdefault(round_id, set()).add(number)
            by_group.setdefault(group_id, set()).add(number)
    return by_round, by_group
