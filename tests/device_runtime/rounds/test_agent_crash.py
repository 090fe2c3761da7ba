"""Killed at every single write to the disk, before or after it: the state loads, and the round is reported."""

import itertools
from pathlib import Path

import pytest

from device_runtime.network import file_cache
from device_runtime.rounds import agent_state, spool
from device_runtime.rounds.agent_state import StateFile
from device_runtime.rounds.outcome import Event


class Killed(BaseException):
    """Not an Exception: nothing on the way out may handle it."""


class Killer:
    """Ends the process, so to say, at the nth write."""

    def __init__(self, monkeypatch, nth, after):
        self.left = nth
        self.after = after
        for module in (agent_state, spool, file_cache):
            monkeypatch.setattr(module, "write_atomically", self.around(module.write_atomically))
        for name in ("unlink", "rename"):
            monkeypatch.setattr(Path, name, self.around(getattr(Path, name)))

    def around(self, write):
        def killing(*arguments, **options):
            self.left -= 1
            is_last = self.left == 0
            if is_last and not self.after:
                raise Killed
            result = write(*arguments, **options)
            if is_last:
                raise Killed
            return result

        return killing


def run_through(new_agent, clock, tmp_path):
    """Steps agents, each as a new process, until the round is reported; True if one was killed."""
    was_killed = False
    for _ in range(12):
        try:
            outcome = new_agent().step()
        except Killed:
            was_killed = True
            StateFile(tmp_path / "tests" / "agent.json").load()
            continue
        if outcome.event is Event.REPORTED:
            return was_killed
        clock.now += outcome.next_step_in_s
    pytest.fail("the round was never reported")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_killed_at_any_write_leaves_no_half_state(
    *, new_agent, service, round_files, clock, tmp_path, monkeypatch, after
):
    num_writes = 0
    for nth in itertools.count(1):
        service.reports.clear()
        selected = service.offer(round_files)
        with monkeypatch.context() as patch:
            Killer(patch, nth, after)
            was_killed = run_through(new_agent, clock, tmp_path)
        if not was_killed:
            break
        num_writes += 1
        assert len(set(service.reports)) == 1, f"write {nth}"
        assert service.check_in_answer is selected
        settle(new_agent, clock, tmp_path)
    assert num_writes > 10


def settle(new_agent, clock, tmp_path):
    """Finishes what a kill after the report left over, and waits until the next round may begin."""
    clock.now += 4_000
    state = StateFile(tmp_path / "tests" / "agent.json")
    while type(state.load().phase).__name__ != "Waiting":
        clock.now += new_agent().step().next_step_in_s
    clock.now += 4_000
