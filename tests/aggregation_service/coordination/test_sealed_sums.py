"""Sums in parts: what workers sealed adds up exactly; a part that is missing, moved or from another flush is found."""

import numpy as np
import pytest

from aggregation_service.coordination.sealed_sums import PART_WEIGHTS, open_sums, seal_sum
from aggregation_service.coordination.sealing import NotSealed, RoundKey
from aggregation_service.rounds.accumulator import TakenSum
from aggregation_service.storage.partial_sums import SealedPart

ROUND, FIRST, SECOND = "a" * 32, "b" * 32, "c" * 32
SIZE = 2 * PART_WEIGHTS + 5


def sums() -> tuple[TakenSum, TakenSum]:
    generator = np.random.default_rng(3)
    return tuple(TakenSum(generator.normal(size=SIZE), count) for count in (3, 4))  # type: ignore[return-value]


def sealed_sums(key: RoundKey) -> list[SealedPart]:
    first, second = sums()
    return seal_sum(key.public, first, ROUND, FIRST) + seal_sum(key.public, second, ROUND, SECOND)


def test_the_parts_of_all_workers_add_up_in_any_order() -> None:
    key = RoundKey()
    parts = sealed_sums(key)
    assert [(part.worker_id, part.part) for part in parts] == [(w, n) for w in (FIRST, SECOND) for n in range(3)]
    first, second = sums()
    opened = open_sums(key, reversed(parts), ROUND, SIZE)
    assert opened.num_updates == 7
    np.testing.assert_array_equal(opened.total, first.total + second.total)


def test_nobody_reported_is_a_sum_too() -> None:
    opened = open_sums(RoundKey(), [], ROUND, 5)
    assert (opened.total.tolist(), opened.num_updates) == ([0.0] * 5, 0)


def test_a_short_sum_is_one_part() -> None:
    key = RoundKey()
    parts = seal_sum(key.public, TakenSum(np.arange(7.0), 2), ROUND, FIRST)
    assert len(parts) == 1
    np.testing.assert_array_equal(open_sums(key, parts, ROUND, 7).total, np.arange(7.0))


@pytest.mark.parametrize("missing", range(6))
def test_a_missing_part_is_found(missing: int) -> None:
    key = RoundKey()
    parts = sealed_sums(key)
    del parts[missing]
    with pytest.raises(NotSealed, match="3 parts of one flush"):
        open_sums(key, parts, ROUND, SIZE)


def test_a_part_that_is_there_twice_is_found() -> None:
    key = RoundKey()
    parts = sealed_sums(key)
    with pytest.raises(NotSealed, match="3 parts of one flush"):
        open_sums(key, [*parts, parts[1]], ROUND, SIZE)


def test_parts_of_two_flushes_are_found() -> None:
    key = RoundKey()
    first, _ = sums()
    earlier = seal_sum(key.public, first, ROUND, FIRST)
    later = seal_sum(key.public, TakenSum(first.total, 4), ROUND, FIRST)
    with pytest.raises(NotSealed, match="3 parts of one flush"):
        open_sums(key, [*earlier[:1], *later[1:]], ROUND, SIZE)
    with pytest.raises(NotSealed, match="3 parts of one flush"):
        open_sums(key, [*earlier, *later], ROUND, SIZE)


@pytest.mark.parametrize(
    "moved",
    [{"worker_id": SECOND}, {"part": 1}, {"part": -1}, {"part": 3}, {"num_updates": 4}],
)
def test_a_part_opens_in_its_place_only(moved: dict[str, object]) -> None:
    key = RoundKey()
    first, _ = sums()
    parts = seal_sum(key.public, first, ROUND, FIRST)
    with pytest.raises(NotSealed):
        open_sums(key, [parts[0]._replace(**moved), *parts[1:]], ROUND, SIZE)  # type: ignore[arg-type]


def test_a_sum_of_another_round_or_size_is_refused() -> None:
    key = RoundKey()
    parts = sealed_sums(key)
    with pytest.raises(NotSealed):
        open_sums(key, parts, "d" * 32, SIZE)
    with pytest.raises(NotSealed, match="must hold 4 numbers, got 5"):
        open_sums(key, parts, ROUND, SIZE - 1)
