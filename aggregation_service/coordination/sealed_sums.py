"""Sums as they lie in the database: sealed in parts, so that neither side ever holds one twice.

A part that is missing, twice there, or from another flush than its neighbours is found when the round closes.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from aggregation_service.coordination.sealing import NotSealed, RoundKey, seal
from aggregation_service.rounds.accumulator import SumArray, TakenSum
from aggregation_service.storage.partial_sums import SealedPart

PART_WEIGHTS = 1 << 17
"""A megabyte of float64. One row of 11 MB would be in memory four times while a driver and a database pass it on."""


def seal_sum(key: bytes, taken: TakenSum, round_id: str, worker_id: str) -> list[SealedPart]:
    """Worker: seals what it summed to the round's public key, 32 bytes."""
    parts = []
    for number, start in enumerate(range(0, taken.total.size, PART_WEIGHTS)):
        plaintext = taken.total[start : start + PART_WEIGHTS].astype("<f8", copy=False).data
        context = _context(round_id, worker_id, number, taken.num_updates)
        parts.append(SealedPart(worker_id, number, taken.num_updates, seal(key, plaintext, context)))
    return parts


def open_sums(key: RoundKey, parts: Iterable[SealedPart], round_id: str, size: int) -> TakenSum:
    """Leader: adds up what all workers sealed, one part after the other, in memory for one.

    Args:
      key: the round's.
      parts: of all workers, in any order.
      round_id: the round.
      size: length of its sum.

    Raises:
      NotSealed: a part is damaged, of another place or flush, missing, or there twice.

    """
    total = np.zeros(size, np.float64)
    seen: Counter[tuple[str, int]] = Counter()  # by worker and number of updates: how many parts
    for part in parts:
        _open_into(total, key, part, round_id)
        seen[part.worker_id, part.num_updates] += 1
    expected = len(range(0, size, PART_WEIGHTS))
    if any(number != expected for number in seen.values()) or len({worker for worker, _ in seen}) != len(seen):
        raise NotSealed(f"each worker's sum must have {expected} parts of one flush")
    return TakenSum(total, sum(num_updates for _, num_updates in seen))


def _open_into(total: SumArray, key: RoundKey, part: SealedPart, round_id: str) -> None:
    opened = key.open(part.sealed, _context(round_id, part.worker_id, part.part, part.num_updates))
    start = part.part * PART_WEIGHTS
    place = total[start : start + PART_WEIGHTS]
    if 8 * place.size != len(opened):
        raise NotSealed(f"part {part.part} of a sum must hold {place.size} numbers, got {len(opened) // 8}")
    np.add(place, np.frombuffer(opened, "<f8"), out=place)


def _context(round_id: str, worker_id: str, part: int, num_updates: int) -> bytes:
    """Binds a part to its place: none can be moved, counted twice, or said to hold more than it does."""
    return f"{round_id}/{worker_id}/{part}/{num_updates}".encode()
