"""The whole device suite once more, on the runtime that the first run did not use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_runtime.runtime import RUNTIME_VARIABLE, RUNTIMES, runtime_name

SUITE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_device_suite_passes_on_the_other_runtime():
    [other] = set(RUNTIMES) - {runtime_name()}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "--tb=no", "-p", "no:cacheprovider", SUITE],
        capture_output=True, text=True, check=False, cwd=SUITE.parents[1],
        env=os.environ | {RUNTIME_VARIABLE: other},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:]
