"""Groups of threads: everybody learns what became of the own item, nobody is committed twice or left out."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from aggregation_service.coordination.groups import REST, Entry, Group


class Odd(Exception):
    pass


class Recorder:
    """Commits numbers: settles even ones with their double, refuses odd ones."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.groups: list[list[int]] = []
        self.running = 0
        self.takes_s = takes_s
        self.most_at_once = 0

    def __call__(self, entries: Sequence[Entry[int, int]]) -> None:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.groups.append([entry.item for entry in entries])
        time.sleep(self.takes_s)
        for entry in entries:
            if entry.item % 2:
                entry.refuse(Odd(str(entry.item)))
            else:
                entry.settle(2 * entry.item)
        self.running -= 1


def test_each_learns_its_own_outcome_and_is_committed_once() -> None:
    recorder = Recorder(takes_s=0.002)
    group: Group[int, int] = Group()

    def submit(number: int) -> int | str:
        try:
            return group.submit(number, recorder)
        except Odd as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(submit, range(200)))
    assert outcomes == [str(number) if number % 2 else 2 * number for number in range(200)]
    assert sorted(number for numbers in recorder.groups for number in numbers) == list(range(200))
    assert recorder.most_at_once == 1
    assert len(recorder.groups) < 150  # those that came during a commit shared the next


def test_a_lone_item_does_not_wait() -> None:
    group: Group[int, int] = Group(linger_s=60)
    with group.expecting():
        assert group.submit(2, Recorder()) == 4


def test_a_group_waits_for_who_is_on_the_way() -> None:
    recorder = Recorder()
    group: Group[int, int] = Group(linger_s=60)
    arrived = threading.Barrier(3)

    def upload(number: int) -> int:
        with group.expecting():
            arrived.wait()
            time.sleep(0.01 * number)
            return group.submit(number, recorder)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(upload, [0, 2, 4])) == [0, 4, 8]
    assert [sorted(numbers) for numbers in recorder.groups] == [[0, 2, 4]]


def test_a_group_does_not_wait_for_ever_nor_for_who_gave_up() -> None:
    group: Group[int, int] = Group(linger_s=0.05)
    with group.expecting():
        assert group.submit(2, Recorder()) == 4  # one of two that are said to be on their way
        with pytest.raises(Odd):
            group.submit(3, Recorder())
    patient: Group[int, int] = Group(linger_s=60)
    with pytest.raises(OSError, match="hung up"), patient.expecting():
        raise OSError("hung up")
    assert patient.submit(2, Recorder()) == 4


def test_the_next_commit_leaves_a_crowd_time_to_come_again() -> None:
    began: list[float] = []
    ended: list[float] = []

    def commit(entries: Sequence[Entry[int, int]]) -> None:
        began.append(time.monotonic())
        time.sleep(0.1)
        for entry in entries:
            entry.settle(entry.item)
        ended.append(time.monotonic())

    group: Group[int, int] = Group()
    for number in range(3):
        assert group.submit(number, commit) == number
    for number in (1, 2):
        assert began[number] - ended[number - 1] >= REST * (ended[number - 1] - began[number - 1])


def test_what_a_commit_forgets_is_an_error() -> None:
    group: Group[int, int] = Group()
    with pytest.raises(RuntimeError, match="without saying what became"):
        group.submit(1, lambda _entries: None)
