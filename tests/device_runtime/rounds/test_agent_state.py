import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.rounds.agent_state import (
    LOST_SEPARATION_S,
    MAX_ADVERTISED_ROUNDS,
    AgentState,
    DamagedState,
    StateFile,
    Timer,
    Waiting,
)

times = st.floats(0, 4e9)
durations = st.floats(0, 366 * 24 * 3600)


@given(start=times, duration=durations, now=times)
def test_a_timer_never_waits_longer_than_its_duration(start, duration, now):
    assert 0 <= Timer(start, duration).remaining_s(now) <= duration


@given(start=times, duration=durations, now=times)
def test_a_settled_timer_is_over_after_its_duration(start, duration, now):
    settled = Timer(start, duration).settled(now)
    assert settled.remaining_s(now + duration + 1) == 0


def test_a_timer_counts_down():
    timer = Timer(1_000.0, 60.0)
    assert [timer.remaining_s(now) for now in (1_000.0, 1_030.0, 1_060.0, 2_000.0)] == [60.0, 30.0, 0.0, 0.0]
    assert timer.settled(1_030.0) is timer


def test_a_clock_turned_back_begins_the_wait_again():
    assert Timer(1_000.0, 60.0).settled(10.0) == Timer(10.0, 60.0)


def test_state_survives(tmp_path):
    file = StateFile(tmp_path / "new" / "agent.json")
    state = msgspec.structs.replace(file.load(), newest_model_version=4, pause=Timer(1.0, 2.0))
    file.save(state)
    assert StateFile(tmp_path / "new" / "agent.json").load() == state


def test_a_new_device_has_an_id_of_its_own(tmp_path):
    ids = {StateFile(tmp_path / "agent.json").load().device_id for _ in range(20)}
    assert len(ids) == 20
    assert all(isinstance(StateFile(tmp_path / "agent.json").load().phase, Waiting) for _ in range(2))


def test_promises_outlive_the_state(tmp_path):
    file = StateFile(tmp_path / "agent.json")
    state = msgspec.structs.replace(
        file.load(),
        newest_model_version=4,
        separation=Timer(1.0, 2.0),
        rounds_reported=3,
        failures=2,
        advertised_rounds=("a" * 32, "b" * 32),
    )
    file.save(state)
    (tmp_path / "agent.json").write_bytes(b"{")
    aside = file.set_aside(1_000.0)
    assert aside.read_bytes() == b"{"
    assert file.set_aside(1_000.0) == aside  # killed and called again
    anew = AgentState(
        device_id=state.device_id,
        newest_model_version=4,
        separation=Timer(1.0, 2.0),
        advertised_rounds=("a" * 32, "b" * 32),
    )
    assert file.load() == anew


@pytest.mark.parametrize("promises", [None, b"", b"{}", b"[" * 10_000])
def test_without_promises_the_longest_separation_is_kept(tmp_path, promises):
    file = StateFile(tmp_path / "agent.json")
    (tmp_path / "agent.json").write_bytes(b"{")
    if promises is not None:
        (tmp_path / "promises.json").write_bytes(promises)
    file.set_aside(1_000.0)
    first = file.load()
    assert first.separation == Timer(1_000.0, LOST_SEPARATION_S)
    file.set_aside(9_999.0)
    assert file.load() == first


def test_damaged_promises_are_replaced_by_the_state(tmp_path):
    file = StateFile(tmp_path / "agent.json")
    state = msgspec.structs.replace(file.load(), newest_model_version=4)
    (tmp_path / "promises.json").write_bytes(b"{")
    file.save(state)
    (tmp_path / "agent.json").unlink()
    assert file.load() == state


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 10_000, b'{"device_id": "short"}'])
def test_damaged_state_is_not_replaced(tmp_path, content):
    (tmp_path / "agent.json").write_bytes(content)
    with pytest.raises(DamagedState):
        StateFile(tmp_path / "agent.json").load()
    assert (tmp_path / "agent.json").read_bytes() == content


def test_unknown_fields_are_damage(tmp_path):
    payload = msgspec.to_builtins(AgentState(device_id="0" * 32)) | {"more": 1}
    (tmp_path / "agent.json").write_bytes(msgspec.json.encode(payload))
    with pytest.raises(DamagedState):
        StateFile(tmp_path / "agent.json").load()


@given(number=st.integers(0, 3 * MAX_ADVERTISED_ROUNDS))
def test_the_newest_rounds_are_remembered(number):
    rounds = [f"{each:032x}" for each in range(number)]
    state = AgentState(device_id="0" * 32)
    for each in rounds:
        state = msgspec.structs.replace(state, advertised_rounds=state.rounds_with(each))
    assert list(state.advertised_rounds) == rounds[-MAX_ADVERTISED_ROUNDS:]


def older(**fields):
    """A state as files held it when they named the last round of secure aggregation only."""
    written = msgspec.to_builtins(AgentState(device_id="0" * 32, newest_model_version=4))
    del written["advertised_rounds"]
    return msgspec.json.encode(written | fields)


@pytest.mark.parametrize(("named", "expected"), [("c" * 32, ("c" * 32,)), (None, ())])
def test_an_older_state_is_read(tmp_path, named, expected):
    file = StateFile(tmp_path / "agent.json")
    (tmp_path / "agent.json").write_bytes(older(secure_round=named))
    (tmp_path / "promises.json").write_bytes(b'{"device_id": "00000000000000000000000000000000"}')
    state = file.load()
    assert type(state) is AgentState
    assert state == AgentState(device_id="0" * 32, newest_model_version=4, advertised_rounds=expected)
    file.save(state)
    assert b"secure_round" not in (tmp_path / "agent.json").read_bytes()
    assert file.load() == state


@pytest.mark.parametrize("rounds", [["short"], "c" * 32, ["c" * 32] * (MAX_ADVERTISED_ROUNDS + 1), [None]])
def test_rounds_that_are_none_are_damage(tmp_path, rounds):
    (tmp_path / "agent.json").write_bytes(older(advertised_rounds=rounds))
    with pytest.raises(DamagedState):
        StateFile(tmp_path / "agent.json").load()
