"""What must hold, as pure functions: evidence in, a sentence for each failure out."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np

from aggregation_service.privacy.ledger import UnknownEvent
from aggregation_service.privacy.ledger_chain import check_chain
from emulator.soaking.books import EndedRound, Ledger
from evaluation.soak.outcome import MemorySlope
from protocol.arrays import FloatArray

MOST_OFF = 1.0
"""In float32 steps: the one rounding of a released weight makes at most half of one."""
FLAT_KB_PER_ROUND = 100.0
"""Memory that grows by more than this, with 95 % certainty, is not flat."""
MAY_GROW = "trainers"
"""TFLite's Python interpreter keeps some 6 kB of each interpreter that was made, and these make one for each device."""
_EXPLAINED = ("close_failed", "key_lost")
"""Endings that a round may have although its sum was booked: the leader died between ledger and checkpoint."""


class Compared(NamedTuple):
    """How a released sum compares with what devices sent.

    Attributes:
      off: see `SoakRound`.
      least_update: see `SoakRound`.
      failures: sentences.

    """

    off: float
    least_update: float
    failures: list[str]


def compare_sum(
    ended: EndedRound, before: FloatArray, after: FloatArray, updates: Mapping[str, FloatArray], report_goal: int
) -> Compared:
    """Checks that a closed round released exactly the updates that it says it counted, each once.

    Args:
      ended: the round.
      before: float32 [num_weights], with which it began.
      after: float32 [num_weights], which it released.
      updates: float32 [num_weights] each, what devices trained for this round, by assignment.
      report_goal: by which the service divides a sum.

    """
    failures = []
    if len(ended.counted) != ended.reported:
        failures.append(f"round {ended.number} must mark {ended.reported} reports as counted, got {len(ended.counted)}")
    strangers = ended.counted - updates.keys()
    if strangers:
        failures.append(f"round {ended.number} must count what devices trained, counted {len(strangers)} other reports")
        return Compared(0.0, 0.0, failures)
    counted = np.stack([updates[each] for each in sorted(ended.counted)]).astype(np.float64)  # [reports, num_weights]
    expected = before.astype(np.float64) + counted.sum(axis=0) / report_goal
    # Where updates cancel each other, their own rounding counts, not that of the small weight that is left.
    sizes = np.maximum.reduce([np.abs(before), np.abs(after), np.abs(counted).max(axis=0).astype(np.float32)])
    steps = np.spacing(sizes).astype(np.float64)
    off = float((np.abs(after - expected) / steps).max())
    least = float((np.abs(counted) / report_goal / steps).max(axis=1).min())
    if off > MOST_OFF:
        failures.append(
            f"round {ended.number} must release the mean of the {ended.reported} updates that it counted, "
            f"its weights are {off:.3g} float32 steps away"
        )
    return Compared(off, least, failures)


def check_ending(ended: EndedRound) -> list[str]:
    """Checks that a round was abandoned in the open."""
    if ended.is_closed or ended.because:
        return []
    return [f"round {ended.number} must say why it was abandoned, got nothing"]


def check_acknowledged(ended: EndedRound, acknowledged: Set[str]) -> list[str]:
    """Checks that whatever was acknowledged is counted."""
    lost = len(acknowledged - ended.counted)
    return (
        [f"round {ended.number} must count all {len(acknowledged)} acknowledged reports, lost {lost}"] if lost else []
    )


def check_ledger(ledger: Ledger, ended: Sequence[EndedRound]) -> list[str]:
    """Checks that the ledger holds each release once, before it was made, and nothing else without an explanation."""
    failures = []
    try:
        check_chain(ledger.rows)
    except UnknownEvent as error:
        failures.append(f"the ledger's chain must hold, but {error}")
    times = Counter(round_id for round_id, _ in ledger.released)
    recorded_at = dict(ledger.released)
    for each in ended:
        booked = times.pop(each.id, 0)
        if booked > 1 or (each.is_closed and not booked):
            failures.append(f"round {each.number} must be in the ledger once, got {booked} times")
        elif booked and not each.is_closed and each.because not in _EXPLAINED:
            failures.append(
                f"round {each.number} is in the ledger and was abandoned, which {each.because} cannot explain"
            )
        stored_at = ledger.stored.get(each.model_version + 1)
        if booked and each.is_closed and stored_at is not None and recorded_at[each.id] > stored_at:
            failures.append(f"round {each.number} must be in the ledger before it is released, got there later")
    if strangers := times.keys() - ledger.under_way:
        failures.append(f"the ledger must hold releases of rounds that were, has {len(strangers)} others")
    return failures


def check_memory(slopes: Sequence[MemorySlope]) -> list[str]:
    """Checks that no memory grows for certain, but where it may."""
    return [
        f"memory of {each.role} must grow by at most {FLAT_KB_PER_ROUND:g} kB a round, grows by at least {each.low:.0f}"
        for each in slopes
        if each.low > FLAT_KB_PER_ROUND and each.role != MAY_GROW
    ]
