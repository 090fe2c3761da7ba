"""Masked sums at rest: those of all workers add up, and whatever is missing, moved or counted twice is found."""

import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation_service.coordination.sealing import NotSealed, RoundKey
from aggregation_service.coordination.secure.sealed_lanes import PART_BYTES, open_lanes, seal_lanes
from aggregation_service.storage.masked_sums import MaskedPart
from protocol.secure_aggregation.group import Group
from protocol.secure_aggregation.messages import GroupParameters, sign_bundle
from protocol.secure_aggregation.server import PartialSum
from protocol.secure_aggregation.signing import Task

SIZE = PART_BYTES // 2 + 5  # two parts of 16-bit lanes
GROUP_ID, FIRST, SECOND = "a" * 32, "b" * 32, "c" * 32


def make_group() -> Group:
    task = Task(population="en-gb", round_id="1" * 32, plan_sha256=bytes(32))
    keys = [
        sign_bundle(
            task,
            identity=Ed25519PrivateKey.generate(),
            mask_key=secrets.token_bytes(32),
            encryption_key=secrets.token_bytes(32),
            self_mask_digest=secrets.token_bytes(32),
        )
        for _ in range(5)
    ]
    parameters = GroupParameters(degree=4, threshold=3, value_bits=16, vector_length=SIZE)
    return Group(task=task, parameters=parameters, least_survivors=3, bundles=tuple(keys))


GROUP = make_group()


def make_sum(*members: int) -> PartialSum:
    generator = np.random.default_rng(members)
    return PartialSum(generator.integers(0, 2**16, SIZE, dtype="<u2"), set(members))


def sealed(key: RoundKey) -> list[MaskedPart]:
    parts = seal_lanes(key.public, make_sum(0, 3), GROUP, GROUP_ID, FIRST)
    return parts + seal_lanes(key.public, make_sum(1), GROUP, GROUP_ID, SECOND)


def test_sums_of_all_workers_add_up_in_any_order() -> None:
    key = RoundKey()
    opened = open_lanes(key, reversed(sealed(key)), GROUP, GROUP_ID)
    assert opened.members == {0, 1, 3}
    np.testing.assert_array_equal(opened.lanes, make_sum(0, 3).lanes + make_sum(1).lanes)


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_part_is_found(missing: int) -> None:
    key = RoundKey()
    parts = sealed(key)
    del parts[missing]
    with pytest.raises(NotSealed, match="2 parts of one flush"):
        open_lanes(key, parts, GROUP, GROUP_ID)


def test_a_part_that_is_there_twice_or_of_an_earlier_flush_is_found() -> None:
    key = RoundKey()
    parts = sealed(key)
    with pytest.raises(NotSealed, match="2 parts of one flush"):
        open_lanes(key, [*parts, parts[1]], GROUP, GROUP_ID)
    earlier = seal_lanes(key.public, make_sum(3), GROUP, GROUP_ID, FIRST)
    with pytest.raises(NotSealed, match="2 parts of one flush"):
        open_lanes(key, [earlier[0], *parts[1:]], GROUP, GROUP_ID)


def test_an_input_in_two_sums_is_found() -> None:
    key = RoundKey()
    parts = sealed(key) + seal_lanes(key.public, make_sum(3, 4), GROUP, GROUP_ID, "d" * 32)
    with pytest.raises(NotSealed, match="in one worker's sum"):
        open_lanes(key, parts, GROUP, GROUP_ID)


@pytest.mark.parametrize("moved", [{"worker_id": SECOND}, {"part": 1}, {"members": b"\x0b"}])
def test_a_part_opens_in_its_place_only(moved: dict[str, object]) -> None:
    key = RoundKey()
    parts = sealed(key)
    with pytest.raises(NotSealed):
        open_lanes(key, [parts[0]._replace(**moved), *parts[1:]], GROUP, GROUP_ID)  # type: ignore[arg-type]
    with pytest.raises(NotSealed):
        open_lanes(key, parts, GROUP, "f" * 32)
    with pytest.raises(NotSealed):
        open_lanes(RoundKey(), parts, GROUP, GROUP_ID)
