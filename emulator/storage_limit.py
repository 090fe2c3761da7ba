"""A disk without room: the system itself refuses to write a larger file."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def largest_file(size: int | None) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes while the block lasts: writing more raises `OSError`.

    None is no limit. Files that are larger already may still be read and written within.
    """
    if size is None:
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the process would end
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
        signal.signal(signal.SIGXFSZ, handler)
