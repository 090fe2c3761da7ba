"""What must be true of the books, whatever was killed when."""

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from chaos.crowd import Crowd
from chaos.site import BRAND, POPULATION, SPECS, Site
from sqlalchemy import select

from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.storage import books
from aggregation_service.storage.files import find_content
from aggregation_service.storage.tables import checkpoints, partial_sums, participation, rounds
from protocol.arrays import FloatArray
from protocol.weights import decode_checkpoint

CheckSum = Callable[[str, int, FloatArray], None]
"""Checks the sum of a closed round, by its id, against how many reports it says it counted."""


def check_books(site: Site, crowd: Crowd) -> Counter[str]:
    """Checks every round, every version, the ledger and the participations.

    Returns:
      How many rounds ended how.

    """
    ended = check_rounds(site, lambda round_id, count, total: check_sum(round_id, count, total, crowd))
    check_participations(site, crowd)
    assert not crowd.unexpected, crowd.unexpected
    return ended


def check_rounds(site: Site, check_sum: CheckSum) -> Counter[str]:
    """Checks that every round ended in the open, and that the versions are the sums of those that closed.

    Returns:
      How many rounds ended how.

    """
    with site.database.read() as connection:
        ended = [row for row in connection.execute(select(rounds).order_by(rounds.c.number)) if row.selected]
        files = select(checkpoints.c.file_sha256).order_by(checkpoints.c.model_version)
        versions = [_weights(find_content(connection, sha256)) for sha256 in connection.scalars(files)]
        events = [event.round_id for event in books.list_events(connection, POPULATION) if _is_release(event)]
        parts = set(connection.scalars(select(partial_sums.c.round_id)))
    closed = [row for row in ended if row.phase == "closed"]
    assert {row.phase for row in ended} <= {"closed", "abandoned"}, "a round is stuck"
    assert all(row.abandoned_because for row in ended if row.phase == "abandoned"), "a round was abandoned in silence"
    assert not parts, "sealed sums outlive their rounds"
    assert [row.model_version for row in closed] == list(range(len(versions) - 1)), "a version has no round of its own"
    assert set(events) >= {row.id for row in closed}, "a released sum is not in the ledger"
    assert len(events) == len(set(events)), "a sum was released twice"
    for row in closed:
        before, after = versions[row.model_version : row.model_version + 2]
        check_sum(row.id, row.reported, (after - before) * site.plan.privacy.report_goal)
    return Counter(row.abandoned_because or "closed" for row in ended)


def check_sum(round_id: str, num_reported: int, total: FloatArray, crowd: Crowd) -> None:
    """Decodes who is in a sum: acknowledged ⊆ counted ⊆ sent, each exactly once, and nothing else."""
    counted = {number for number, row in enumerate(total) if row.any()}
    for number in counted:
        sent = crowd.sent.get((round_id, number))
        assert sent is not None, f"round {round_id} counted device {number}, which sent nothing"
        np.testing.assert_array_equal(total[number], sent, f"round {round_id} did not count {number} exactly once")
    acknowledged = {number for known_round, number in crowd.acknowledged if known_round == round_id}
    assert acknowledged <= counted, f"round {round_id} lost acknowledged reports: {acknowledged - counted}"
    assert len(counted) == num_reported, f"round {round_id} counted {len(counted)} reports and says {num_reported}"


def check_participations(site: Site, crowd: Crowd) -> None:
    """No device's acknowledged report is missing from what its privacy loss is computed from."""
    reported = read_participations(site)
    acknowledged = Counter(number for _, number in crowd.acknowledged)
    sent = Counter(number for _, number in crowd.sent)
    for number, device_id in enumerate(site.device_ids):
        noted = reported.get(device_id, 0)
        assert acknowledged[number] <= noted <= sent[number], f"device {number} is booked {noted} participations"


def read_participations(site: Site) -> dict[str, int]:
    """How many reports are booked, by device."""
    with site.database.read() as connection:
        return {row.device_id: row.reported for row in connection.execute(select(participation))}


def check_nothing_in_the_clear(site: Site, since: float) -> None:
    """No report lies in the database's files, neither as float32, as it was sent, nor as float64, as it is summed.

    Reads the files that were written after `since`, less a second for the file system's clock.
    """
    for path in site.files():
        # Not in this process: to close a file of SQLite's here would drop the locks of this process's own connection.
        content = (
            subprocess.run(["cat", path], capture_output=True, check=False).stdout if _is_new(path, since) else b""
        )
        for brand in brands():
            assert brand not in content, f"{path.name} holds a report in the clear"


def _is_new(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime > since - 1
    except FileNotFoundError:  # a journal that was folded in meanwhile
        return False


def brands() -> tuple[bytes, bytes]:
    return BRAND.astype("<f4").tobytes(), BRAND.astype("<f8").tobytes()


def _weights(content: bytes | None) -> FloatArray:
    assert content is not None, "the file of a version is missing"
    return decode_checkpoint(content, SPECS)["rows"]


def _is_release(event: object) -> bool:
    return isinstance(event, GaussianSumReleased)
