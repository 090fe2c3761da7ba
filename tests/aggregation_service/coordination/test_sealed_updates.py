"""Updates that are kept: combined from what was sealed, and from nothing else."""

import numpy as np
import pytest

from aggregation_service.coordination.sealed_updates import PIECE_WEIGHTS, Layout, combine_updates, seal_update
from aggregation_service.coordination.sealing import NotSealed, RoundKey, seal
from aggregation_service.rounds.accumulator import ClippedUpdate, SumArray
from aggregation_service.rounds.combining import Median, RobustRule, TrimmedMean
from aggregation_service.storage.partial_sums import SealedPart
from protocol.arrays import FloatArray
from protocol.errors import NonFiniteUpdate
from protocol.plan import Plan

IDS = tuple(letter * 32 for letter in "bcdef")
LAYOUT = Layout(round_id="a" * 32, size=11, part_weights=4)

Stored = dict[tuple[str, int], SealedPart]


def updates() -> FloatArray:
    return np.random.default_rng(3).normal(size=(len(IDS), LAYOUT.size)).astype(np.float32)


def clipped(values: FloatArray, scale: float = 1.0) -> ClippedUpdate:
    return ClippedUpdate(values, scale, was_clipped=scale != 1.0)


def stored(key: RoundKey) -> Stored:
    sealed = [seal_update(key.public, LAYOUT, name, clipped(row)) for name, row in zip(IDS, updates(), strict=True)]
    return {(part.worker_id, part.part): part for parts in sealed for part in parts}


def combined(key: RoundKey, found: Stored, rule: RobustRule | None = None, layout: Layout = LAYOUT) -> SumArray:
    return combine_updates(key, layout, rule or Median(), list(found), lambda name, part: found[name, part])


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(trim=0.2)])
def test_what_was_sealed_is_combined_in_any_order_of_places(rule: RobustRule) -> None:
    key = RoundKey()
    found = stored(key)
    assert {part for _, part in found} == {0, 1, 2}
    expected = rule.combine(updates())
    np.testing.assert_array_equal(combined(key, found, rule), expected)
    np.testing.assert_array_equal(combined(key, dict(reversed(found.items())), rule), expected)


def test_an_update_is_kept_as_it_was_clipped_and_costs_4_bytes_a_weight() -> None:
    key = RoundKey()
    layout = Layout(round_id=LAYOUT.round_id, size=6, part_weights=6)
    values = np.array([-32767, -2, 0, 1, 9, 32767], np.int16)
    (part,) = seal_update(key.public, layout, IDS[0], ClippedUpdate(values, 1 / 3000, was_clipped=True))
    assert (part.num_updates, len(part.sealed)) == (1, 48 + 4 * 6)
    kept = combine_updates(key, layout, Median(), [(IDS[0], 0)], lambda *_place: part)
    np.testing.assert_array_equal(kept, (values / 3000).astype(np.float32))


def test_no_two_seals_are_alike() -> None:
    key = RoundKey()
    first, second = (seal_update(key.public, LAYOUT, IDS[0], clipped(updates()[0])) for _ in range(2))
    assert not {bytes(part.sealed) for part in first} & {bytes(part.sealed) for part in second}


@pytest.mark.parametrize("place", range(3 * len(IDS)))
def test_a_missing_part_is_found(place: int) -> None:
    key = RoundKey()
    found = stored(key)
    del found[list(found)[place]]
    with pytest.raises(NotSealed, match="must have 3 parts, each once"):
        combined(key, found)


def test_a_part_that_is_there_twice_or_too_many_is_found() -> None:
    key = RoundKey()
    found = stored(key)
    for too_many in ((IDS[1], 1), (IDS[1], 3), (IDS[1], -1)):
        with pytest.raises(NotSealed, match="must have 3 parts, each once"):
            combine_updates(key, LAYOUT, Median(), [*found, too_many], lambda name, part: found[name, part])


@pytest.mark.parametrize("source", [(IDS[1], 0), (IDS[0], 1), (IDS[0], 2)])
def test_a_part_opens_in_its_place_only(source: tuple[str, int]) -> None:
    """Neither another device's nor the update's own next one, whatever its row says of itself."""
    key = RoundKey()
    found = stored(key)
    found[IDS[0], 0] = found[source]._replace(worker_id=IDS[0], part=0)
    with pytest.raises(NotSealed, match="damaged, or was sealed for something else"):
        combined(key, found)


@pytest.mark.parametrize("byte", [0, 31, 32, 40, -1])
def test_a_damaged_part_is_found(byte: int) -> None:
    key = RoundKey()
    found = stored(key)
    damaged = bytearray(found[IDS[2], 1].sealed)
    damaged[byte] ^= 1
    for sealed in (damaged, damaged[:20], b""):
        with pytest.raises(NotSealed):
            combined(key, found | {(IDS[2], 1): found[IDS[2], 1]._replace(sealed=sealed)})


def test_updates_of_another_round_key_or_size_are_refused() -> None:
    key = RoundKey()
    found = stored(key)
    with pytest.raises(NotSealed):
        combined(key, found, layout=Layout(round_id="9" * 32, size=11, part_weights=4))
    with pytest.raises(NotSealed):
        combined(RoundKey(), found)
    with pytest.raises(NotSealed, match="part 2 of an update must hold 2 numbers, got 3"):
        combined(key, found, layout=Layout(round_id=LAYOUT.round_id, size=10, part_weights=4))


def test_a_sealed_sum_is_no_update() -> None:
    key = RoundKey()
    found = stored(key)
    as_sum = seal(key.public, np.zeros(4, "<f4").data, f"{LAYOUT.round_id}/{IDS[0]}/0/1".encode())
    with pytest.raises(NotSealed):
        combined(key, found | {(IDS[0], 0): SealedPart(IDS[0], 0, 1, as_sum)})


def test_no_updates_and_updates_that_nobody_checked_are_refused() -> None:
    key = RoundKey()
    with pytest.raises(ValueError, match="num_updates >= 1"):
        combined(key, {})
    unchecked = seal_update(key.public, LAYOUT, IDS[0], clipped(np.full(11, np.nan, np.float32)))
    with pytest.raises(NonFiniteUpdate):
        combined(key, stored(key) | {(IDS[0], part.part): part for part in unchecked})


@pytest.mark.parametrize("report_goal", [1, 3, 100, 1000, 10_000])
def test_a_piece_of_a_round_is_64_mb_at_most(plans: object, report_goal: int) -> None:
    plan: Plan = plans(goal=report_goal)  # type: ignore[operator]
    layout = Layout.of(LAYOUT.round_id, plan)
    assert 1 <= layout.part_weights * report_goal <= PIECE_WEIGHTS
    assert sum(part.stop - part.start for part in layout.parts) == plan.update_size
