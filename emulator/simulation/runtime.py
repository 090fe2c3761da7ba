"""TensorFlow Federated's runtime: a program beside this one, ended by whoever started it."""

import gc
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import tensorflow_federated as tff  # type: ignore[import-not-found]  # in an environment of its own

_WORKER = "worker_binary"
_END_WITHIN_S = 10.0


@contextmanager
def tff_runtime(num_threads: int) -> Iterator[None]:
    """What TFF computes in the block runs in a worker of its own, which ends with the block.

    TFF starts the worker at the first computation, hands it standard output and error, and leaves it behind when its
    own program ends; there it would hold a pipe open. So the first computation is made here, with neither.

    Args:
      num_threads: clients that train at the same time.

    """
    before = _workers()
    tff.backends.native.set_sync_local_cpp_execution_context(max_concurrent_computation_calls=num_threads)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            tff.tensorflow.computation(lambda: 0)()
        yield
    finally:
        gc.collect()  # values that lie in the worker say goodbye while it still listens
        for pid in _workers() - before:
            _end(pid)


def _end(pid: int) -> None:
    """Stops a worker as TFF itself would; that it has ended is left for TFF to collect."""
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + _END_WITHIN_S
    while pid in _workers():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += _END_WITHIN_S
        time.sleep(0.02)


def _workers() -> set[int]:
    """Running workers among this process's children."""
    children = [int(pid) for listed in Path("/proc/self/task").glob("*/children") for pid in _read(listed).split()]
    return {pid for pid in children if _is_running_worker(_read(Path(f"/proc/{pid}/stat")))}


def _is_running_worker(stat: str) -> bool:
    """Of a line `pid (name) state ...`: Z is a process that has ended and was not waited for."""
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name == _WORKER and rest.split()[0] != "Z"


def _read(path: Path) -> str:
    with suppress(OSError):  # ended meanwhile
        return path.read_text(encoding="ascii")
    return ""
