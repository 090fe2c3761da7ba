"""A sealed state opens for one service, one task, one step, whole and in order."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from aggregation_service.coordination import sealed_states
from aggregation_service.coordination.sealed_states import PART_BYTES, open_state, seal_state
from aggregation_service.coordination.sealing import NotSealed
from aggregation_service.storage.noise_streams import StatePart

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
STATE = bytes(range(256)) * 4
Change = Callable[[list[StatePart]], list[StatePart]]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[StatePart]:
    monkeypatch.setattr(sealed_states, "PART_BYTES", 300)
    return list(seal_state(KEY, STATE, task_id=7, step=3))


def opened(parts: list[StatePart], *, key: Ed25519PrivateKey = KEY, task_id: int = 7) -> bytes:
    return open_state(key, parts, task_id=task_id, num_parts=len(parts))


@given(st.binary(min_size=1, max_size=2000))
def test_what_was_sealed_is_opened(state: bytes) -> None:
    assert opened(list(seal_state(KEY, state, task_id=7, step=3))) == state


def test_a_state_lies_in_parts_that_tell_nothing(parts: list[StatePart]) -> None:
    assert [(part.part, part.step, len(part.sealed)) for part in parts] == [
        (0, 3, 328),
        (1, 3, 328),
        (2, 3, 328),
        (3, 3, 152),
    ]
    assert not any(STATE[:16] in part.sealed for part in parts)
    again = list(seal_state(KEY, STATE, task_id=7, step=3))
    assert not {part.sealed for part in parts} & {part.sealed for part in again}
    assert PART_BYTES == 2**20


def test_another_service_or_task_cannot_open_it(parts: list[StatePart]) -> None:
    assert opened(parts) == STATE
    for changed in ({"key": OTHER}, {"task_id": 8}):
        with pytest.raises(NotSealed, match="part 0 of a noise state is damaged, or of another stream or step"):
            opened(parts, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts[:-1],
        lambda parts: parts[1:],
        lambda parts: [parts[1], parts[0], *parts[2:]],
        lambda parts: [part._replace(step=2) for part in parts],
        lambda parts: [parts[0]._replace(sealed=parts[0].sealed[:-1]), *parts[1:]],
        lambda parts: [parts[0]._replace(sealed=b""), *parts[1:]],
        lambda parts: [parts[0]._replace(sealed=b"short"), *parts[1:]],
        lambda parts: [parts[0]._replace(sealed=parts[0].sealed[:-1] + b"?"), *parts[1:]],
        lambda parts: [next(seal_state(KEY, STATE, task_id=7, step=2)), *parts[1:]],
    ],
    ids=["cut", "headless", "swapped", "older", "shorter", "empty", "tiny", "damaged", "mixed steps"],
)
def test_what_is_not_whole_and_in_its_place_is_refused(parts: list[StatePart], change: Change) -> None:
    with pytest.raises(NotSealed):
        opened(change(parts))
