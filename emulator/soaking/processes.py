"""The processes of a soak: how large they are, which are left, and how they end; all by a mark that they inherit."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

MARK = "KEYCHORUS_SOAK"
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)
_ENDS_WITHIN_S = 5.0
_SETTLES_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A process's resident memory.

    Attributes:
      role: `service`, `speakers` or `trainers`.
      pid: its number.
      kilobytes: of 1,000 bytes.

    """

    role: str
    pid: int
    kilobytes: float


@contextmanager
def marked(**variables: str) -> Iterator[str]:
    """Marks every process that is started until the block ends, and gives it these variables, too; gives the mark."""
    mark, before = secrets.token_hex(16), dict(os.environ)
    os.environ.update({**variables, MARK: mark})
    try:
        yield mark
    finally:
        os.environ.clear()
        os.environ.update(before)


def left_over(mark: str) -> list[psutil.Process]:
    """Processes with this mark that still run, but for our own and Python's tracker, which lives as long as ours."""
    found = []
    for process in psutil.process_iter():
        with suppress(*_GONE):
            if process.environ().get(MARK) != mark or process.pid == os.getpid():
                continue
            if "resource_tracker" not in " ".join(process.cmdline()):
                found.append(process)
    return found


def wait_for_end(mark: str) -> list[str]:
    """Waits for all marked processes to end, for a few seconds; returns the names of those that do not."""
    _, alive = psutil.wait_procs(left_over(mark), timeout=_ENDS_WITHIN_S)
    return sorted(_name(process) for process in alive)


def end_left_over(mark: str) -> None:
    """Kills all marked processes, and those that one of them had just started."""
    while doomed := left_over(mark):
        for process in doomed:
            with suppress(*_GONE):
                process.kill()
        psutil.wait_procs(doomed, timeout=_ENDS_WITHIN_S)
        time.sleep(_SETTLES_S)


def residents(service_pid: int | None, *, speakers: int) -> list[Resident]:
    """The memory of the service's processes, by its main one, and of those in which devices live.

    The engine starts so many `speakers` first, and those that train after them.
    """
    found = []
    with suppress(*_GONE):
        service = [] if service_pid is None else _family(psutil.Process(service_pid))
        for process in service:
            found += _resident("service", process)
        spawned = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
        for place, process in enumerate(sorted(spawned, key=lambda each: (each.create_time(), each.pid))):
            found += _resident("speakers" if place < speakers else "trainers", process)
    return found


def kill_family(pid: int) -> None:
    """Kills a process and all that descend from it; meanwhile it can start nobody. Returns when they are gone."""
    with suppress(*_GONE):
        parent = psutil.Process(pid)
        parent.suspend()
        doomed = _family(parent)
        for process in doomed:
            with suppress(*_GONE):
                process.kill()
        psutil.wait_procs(doomed, timeout=_ENDS_WITHIN_S)


def _family(parent: psutil.Process) -> list[psutil.Process]:
    return [parent, *parent.children(recursive=True)]


def _resident(role: str, process: psutil.Process) -> list[Resident]:
    with suppress(*_GONE):
        return [Resident(role=role, pid=process.pid, kilobytes=process.memory_info().rss / 1000)]
    return []


def _name(process: psutil.Process) -> str:
    with suppress(*_GONE):
        return str(process.name())
    return "a process"
