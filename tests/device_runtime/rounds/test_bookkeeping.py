from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.rounds.agent_state import Advertised, Assigned, StateFile, Timer, Waiting
from device_runtime.rounds.bookkeeping import (
    FIRST_RETRY_S,
    FIRST_SESSION_RETRY_S,
    LONGEST_RETRY_S,
    LONGEST_SESSION_RETRY_S,
    POLL_S,
    Bookkeeping,
)
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.round_files import RoundFiles
from device_runtime.rounds.secure_report import SessionLost, SessionMemory
from device_runtime.rounds.spool import Spool
from device_runtime.storage.files import UnreadableData


def make_books(folder, clock, signing_key, jitter=1.0):
    return Bookkeeping(
        state_file=StateFile(folder / "agent.json"),
        spool=Spool(folder),
        memory=SessionMemory(),
        files=RoundFiles(folder / "cache", None, "tests", signing_key.public_key(), None),
        clock=clock,
        jitter=lambda: jitter,
    )


@pytest.fixture
def books(tmp_path, clock, signing_key):
    return make_books(tmp_path, clock, signing_key)


@pytest.fixture
def selected(service):
    return service.offer({})


def test_loading_settles_what_a_clock_turned_back_has_left(books, clock):
    books.amend(pause=Timer(clock.now + 500, 60.0))
    assert books.load(clock.now).pause == Timer(clock.now, 60.0)
    assert books.state_file.load().pause == Timer(clock.now, 60.0), "written down"


def test_a_damaged_state_is_set_aside_with_a_warning(books, clock, tmp_path, caplog):
    device_id = books.save(books.load(clock.now)).device_id
    (tmp_path / "agent.json").write_bytes(b"{")
    assert books.load(clock.now).device_id == device_id
    assert "begins anew" in caplog.text


def test_what_a_step_saved_half_way_is_amended_and_not_undone(books, clock):
    state = books.load(clock.now)
    books.save(state, newest_model_version=4)
    books.drop(state, Event.REFUSED, failed=True)
    assert books.load(clock.now).newest_model_version == 4


def test_a_dropped_round_leaves_nothing_behind(books, clock, selected):
    books.spool.put(selected.assignment_id, b"update")
    books.memory.hold(SimpleNamespace(selected=selected))
    state = books.amend(phase=Assigned(selected, Timer(clock.now, 600.0)))
    assert books.drop(state, Event.EXPIRED).next_step_in_s == POLL_S
    assert books.load(clock.now).phase == Waiting()
    with pytest.raises(UnreadableData):
        books.spool.get(selected.assignment_id)
    with pytest.raises(SessionLost):
        books.memory.recall(selected)


@pytest.mark.parametrize(
    ("in_session", "first_s", "longest_s"),
    [(False, FIRST_RETRY_S, LONGEST_RETRY_S), (True, FIRST_SESSION_RETRY_S, LONGEST_SESSION_RETRY_S)],
)
def test_each_failure_doubles_the_wait_up_to_a_bound(*, books, clock, selected, in_session, first_s, longest_s):
    deadline = Timer(clock.now, 600.0)
    phase = Advertised(selected, deadline, 3_600.0) if in_session else Assigned(selected, deadline)
    books.amend(phase=phase)
    waits = [books.retry_later("erred").next_step_in_s for _ in range(20)]
    assert waits == [min(first_s * 2**number, longest_s) for number in range(20)]
    assert books.load(clock.now).phase == phase, "the same is tried again"


@settings(max_examples=30, deadline=None)
@given(jitter=st.floats(0, 1, exclude_max=True), failures=st.integers(0, 10**6))
def test_waits_are_spread_over_their_upper_half(tmp_path_factory, signing_key, jitter, failures):
    books = make_books(tmp_path_factory.mktemp("books"), lambda: 1_000.0, signing_key, jitter)
    books.amend(failures=failures)
    longest_s = min(FIRST_RETRY_S * 2.0 ** min(failures, 16), LONGEST_RETRY_S)
    assert longest_s / 2 <= books.retry_later("erred").next_step_in_s <= longest_s
