"""Groups' rosters, which never change, decoded once in each process."""

import threading
from collections import OrderedDict

from sqlalchemy import Connection

from aggregation_service.storage import secure_groups
from aggregation_service.storage.rounds import RoundRecord
from protocol.secure_aggregation.group import Group
from protocol.secure_aggregation.messages import decode
from protocol.secure_aggregation.signing import Task

KEPT = 16
"""Groups whose rosters are kept: 0.2 MB each for 1,000 members."""


def task_of(record: RoundRecord) -> Task:
    """What the groups of a round are for, as its devices know it."""
    plan_sha256 = bytes.fromhex(record.task.plan_file.sha256)
    return Task(population=record.population, round_id=record.id, plan_sha256=plan_sha256)


class Rosters:
    """The rosters of the groups that were asked for last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: OrderedDict[str, Group] = OrderedDict()

    def find(self, connection: Connection, group_id: str) -> Group | None:
        """A group by its id; None if it has ended."""
        with self._lock:
            group = self._groups.get(group_id)
            if group is not None:
                self._groups.move_to_end(group_id)
                return group
        content = secure_groups.get_content(connection, group_id)
        if content is None:
            return None
        group = decode(content, Group)
        with self._lock:
            self._groups[group_id] = group
            while len(self._groups) > KEPT:
                self._groups.popitem(last=False)
        return group
