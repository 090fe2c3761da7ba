import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.mechanisms.memories import LARGEST, Draw, IntArray, NoiseOutOfRange
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.streams import NoiseStream, WrongState

SIZE = 7
BUFFERED = BufferedToeplitz((0.95, 0.3), (0.2, 0.3))
MECHANISMS = [
    Independent(),
    Tree(1),
    Tree(8),
    BandedToeplitz((1.0,)),
    BandedToeplitz((1.0, 0.5, 0.375, 0.3125)),
    BUFFERED,
]
mechanisms = st.sampled_from(MECHANISMS)


def drawing(seed: int) -> Draw:
    generator = np.random.default_rng(seed)
    return lambda: generator.integers(-(2**28), 2**28, SIZE)


def run(stream: NoiseStream, steps: int, draw: Draw) -> list[list[int]]:
    return [stream.next(draw).tolist() for _ in range(steps)]


def saved(mechanism: Mechanism, steps: int = 5) -> bytes:
    stream = NoiseStream(mechanism, SIZE, context="task-1")
    run(stream, steps, drawing(0))
    return stream.to_bytes()


@settings(deadline=None, max_examples=30)
@given(mechanisms, st.integers(0, 20), st.integers(0, 20))
def test_a_restart_changes_nothing(mechanism: Mechanism, before: int, after: int) -> None:
    draw = drawing(1)
    through = run(NoiseStream(mechanism, SIZE, context="task-1"), before + after, draw)

    draw = drawing(1)
    stopped = NoiseStream(mechanism, SIZE, context="task-1")
    first = run(stopped, before, draw)
    resumed = NoiseStream(mechanism, SIZE, context="task-1", state=stopped.to_bytes())
    assert resumed.step == before
    assert first + run(resumed, after, draw) == through


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_saving_leaves_the_stream_as_it_was_and_is_the_same_twice(mechanism: Mechanism) -> None:
    stream = NoiseStream(mechanism, SIZE, context="task-1")
    run(stream, 3, drawing(2))
    assert stream.to_bytes() == stream.to_bytes()
    assert NoiseStream(mechanism, SIZE, context="task-1", state=stream.to_bytes()).to_bytes() == stream.to_bytes()


@pytest.mark.parametrize(("mechanism", "vectors"), list(zip(MECHANISMS, (0, 0, 3, 0, 3, 2), strict=True)))
def test_a_state_has_the_stated_size(mechanism: Mechanism, vectors: int) -> None:
    content = msgspec.msgpack.decode(saved(mechanism))["vectors"]
    assert len(content) == 8 * vectors * SIZE
    assert len(saved(mechanism)) < len(content) + 200


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_the_state_of_another_stream_is_refused(mechanism: Mechanism) -> None:
    state = saved(mechanism)
    with pytest.raises(WrongState, match="context of the state must be task-2, got task-1"):
        NoiseStream(mechanism, SIZE, context="task-2", state=state)
    with pytest.raises(WrongState, match=f"size of the state must be {SIZE + 1}, got {SIZE}"):
        NoiseStream(mechanism, SIZE + 1, context="task-1", state=state)
    for other in (*MECHANISMS, BufferedToeplitz((0.95, 0.3), (0.2, 0.31))):
        if other != mechanism:
            with pytest.raises(WrongState, match="parameters of the state must be"):
                NoiseStream(other, SIZE, context="task-1", state=state)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_a_truncated_state_is_refused_wherever_it_ends(mechanism: Mechanism) -> None:
    state = saved(mechanism)
    for length in range(len(state)):
        with pytest.raises(WrongState):
            NoiseStream(mechanism, SIZE, context="task-1", state=state[:length])
    with pytest.raises(WrongState):
        NoiseStream(mechanism, SIZE, context="task-1", state=state + b"\x00")


@settings(deadline=None, max_examples=200)
@given(mechanisms, st.data())
def test_a_damaged_state_is_refused_or_is_a_state(mechanism: Mechanism, data: st.DataObject) -> None:
    state = bytearray(saved(mechanism))
    state[data.draw(st.integers(0, len(state) - 1))] = data.draw(st.integers(0, 255))
    try:
        stream = NoiseStream(mechanism, SIZE, context="task-1", state=bytes(state))
    except WrongState:
        return
    assert stream.to_bytes() == bytes(state)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -2.0 * LARGEST])
def test_vectors_that_are_no_noise_are_refused(wrong: float) -> None:
    fields = msgspec.msgpack.decode(saved(BUFFERED))
    fields["vectors"] = struct.pack("<d", wrong) + fields["vectors"][8:]
    with pytest.raises(WrongState, match=f"the state's noise must be within ±{LARGEST}, got"):
        NoiseStream(BUFFERED, SIZE, context="task-1", state=msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("step", -1),
        ("step", 1.5),
        ("more", 1),
        ("vectors", bytes(8)),
        ("vectors", bytes(8 * 2 * SIZE + 1)),
        ("vectors", bytes(8 * 3 * SIZE)),
    ],
)
def test_other_fields_are_refused(name: str, wrong: object) -> None:
    fields = msgspec.msgpack.decode(saved(BUFFERED)) | {name: wrong}
    with pytest.raises(WrongState):
        NoiseStream(BUFFERED, SIZE, context="task-1", state=msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize("failing_draw", [0, 1, 3])
def test_a_failing_draw_leaves_the_stream_as_it_was(mechanism: Mechanism, failing_draw: int) -> None:
    stream = NoiseStream(mechanism, SIZE, context="task-1")
    run(stream, 7, drawing(3))
    before, draw, asked = stream.to_bytes(), drawing(4), iter(range(100))

    def failing() -> IntArray:
        if next(asked) == failing_draw:
            raise OSError
        return draw()

    if failing_draw and not (isinstance(mechanism, Tree) and mechanism.height):
        return  # it draws but once
    with pytest.raises(OSError):  # noqa: PT011
        stream.next(failing)
    assert (stream.to_bytes(), stream.step) == (before, 7)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize(
    "wrong", [np.zeros(SIZE), np.zeros(SIZE + 1, np.int64), np.zeros((1, SIZE), np.int64), np.zeros(SIZE, np.int32)]
)
def test_a_draw_of_another_kind_is_refused(mechanism: Mechanism, wrong: IntArray) -> None:
    stream = NoiseStream(mechanism, SIZE, context="task-1")
    with pytest.raises(ValueError, match=rf"draw must give int64 \[{SIZE}\], got"):
        stream.next(lambda: wrong)
    assert stream.step == 0


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize("wrong", [LARGEST + 1, -LARGEST - 1, 2**63 - 1, -(2**63)])
def test_a_draw_beyond_the_range_is_refused(mechanism: Mechanism, wrong: int) -> None:
    stream = NoiseStream(mechanism, SIZE, context="task-1")
    with pytest.raises(NoiseOutOfRange, match="noise must be within"):
        stream.next(lambda: np.full(SIZE, wrong))


def test_the_noise_belongs_to_the_caller() -> None:
    for mechanism in MECHANISMS:
        for_good = run(NoiseStream(mechanism, SIZE, context="task-1"), 20, drawing(5))
        draw, stream, noise = drawing(5), NoiseStream(mechanism, SIZE, context="task-1"), []
        for _ in range(20):
            step = stream.next(draw)
            noise.append(step.tolist())
            step[:] = 0
        assert noise == for_good


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_stream_has_coordinates(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"size must be >= 1, got {wrong}"):
        NoiseStream(Independent(), wrong, context="task-1")


def test_a_stream_belongs_to_something() -> None:
    with pytest.raises(ValueError, match="context must name what the stream belongs to, got an empty string"):
        NoiseStream(Independent(), SIZE, context="")
