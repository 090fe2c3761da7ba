"""A process of its own for what is measured, so that neither CPU time nor memory is anybody else's."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment variables that keep numpy to one thread."""

_END_WITHIN_S = 10.0


@contextmanager
def worker(serve: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Starts `serve(connection, *arguments)` in a fresh process whose products use one thread, and ends it.

    Args:
      serve: a module's function that answers until the connection ends (EOFError).
      arguments: what can be pickled.

    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, *arguments), daemon=True)
    with _environment(ONE_THREAD):
        process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join(timeout=_END_WITHIN_S)
        if process.is_alive():
            process.kill()
            process.join()


def memory_bytes(which: Literal["VmRSS", "VmHWM"]) -> int:
    """Resident memory of this process: now (VmRSS), or the most that it has had (VmHWM).

    Not `getrusage`: its figure is at least that of whatever program started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"^{which}:\s*(\d+) kB$", status, re.MULTILINE)[0]) * 1024


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Environment variables that a process started meanwhile inherits."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
