"""How gunicorn runs the service, wherever it is started from: `--config python:aggregation_service.gunicorn_settings`.

gunicorn reads the lower-case names below; `keychorus service run` adds address, workers and threads.
"""

import ctypes
import gc
import os
import shutil
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aggregation_service.patience import PatientTlsSocket

wsgi_app = "aggregation_service.wsgi:app()"
worker_class = "aggregation_service.workers.PatientWorker"
keepalive = 15
graceful_timeout = 10
control_socket_disable = True

# A device's request has a dozen short headers; the longest holds a signature of 88 characters.
limit_request_line = 2048
limit_request_fields = 50
limit_request_field_size = 4096

# Proxies are believed by the app alone, and only as many as the configuration's `trusted_proxies` says.
forwarded_allow_ips = ""

_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# The numbers of glibc's options, as in its malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MEMORY = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: 2 << 20, _M_TRIM_THRESHOLD: 128 << 20}


def on_starting(_server: Any) -> None:
    """Makes the empty folder in which all workers count; before any of them, or prometheus_client, begins."""
    folder = os.environ.get(_METRICS_VARIABLE)
    if folder is None:
        folder = tempfile.mkdtemp(prefix="keychorus-metrics-", dir=os.environ.get("RUNTIME_DIRECTORY"))
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for left_over in Path(folder).glob("*.db"):
        left_over.unlink()
    os.environ[_METRICS_VARIABLE] = folder


def post_fork(_server: Any, _worker: Any) -> None:
    """Has a worker's threads share one heap, and use its blocks again.

    Reports and sums are blocks of 1 to 11 MB. By itself glibc keeps some of them for each thread apart, hundreds of MB
    in all; and fetching each one anew from the system costs more time than the arithmetic on it.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # not in other C libraries
        for option, value in _MEMORY.items():
            libc.mallopt(option, value)


def post_worker_init(_worker: Any) -> None:
    """Has the garbage collector leave alone what lives as long as the worker: modules, routes, tables."""
    gc.collect()
    gc.freeze()


def child_exit(_server: Any, worker: Any) -> None:
    """Forgets a dead worker's gauges; what it counted stays counted."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Any) -> None:
    """Removes the folder."""
    shutil.rmtree(os.environ[_METRICS_VARIABLE], ignore_errors=True)


def ssl_context(_config: Any, make_default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """TLS 1.2 or newer, over sockets whose patience ends; only used if gunicorn is given a certificate."""
    context = make_default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = PatientTlsSocket
    return context
