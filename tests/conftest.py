"""What holds for all tests: nothing is left running."""

import os
import secrets
import time
from pathlib import Path

import pytest
from hypothesis import settings

# A slow machine fails no test: speed is measured in `keychorus bench`.
settings.register_profile("keychorus", settings.default, deadline=None)
settings.load_profile("keychorus")

_MARK = "KEYCHORUS_TEST_SESSION"
_GRACE_S = 10.0


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_running():
    """Every process that a test starts inherits a mark; at the end none with it may run but our own."""
    mark = f"{_MARK}={secrets.token_hex(16)}"
    os.environ[_MARK] = mark.partition("=")[2]
    yield
    time.sleep(0.2)  # a process that began just now shows no environment yet
    deadline = time.monotonic() + _GRACE_S
    while (left := _marked(mark.encode())) and time.monotonic() < deadline:
        time.sleep(0.1)
    del os.environ[_MARK]
    assert not left, f"still running after the tests: {left}"


def _marked(mark):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile, or not ours
            continue
        # Python's own resource tracker lives as long as the process that it serves.
        if mark in environment and int(folder.name) != os.getpid() and "resource_tracker" not in name:
            found.append(name[:80])
    return found
