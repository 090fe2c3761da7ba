import math
import struct
import time
from pathlib import Path

import pytest

from aggregation_service.clock import ClockError, FileClock, SystemClock, set_file_clock


def test_a_file_clock_stands_where_it_was_set(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    clock = FileClock(path)
    for now in (0.0, 1_700_000_000.25, 1_699_999_999.0):
        set_file_clock(path, now)
        assert clock.now() == now
    assert path.read_bytes() == struct.pack("<d", 1_699_999_999.0)


@pytest.mark.parametrize("content", [None, b"", b"1234567", b"123456789", struct.pack("<d", math.nan)])
def test_a_file_without_a_time_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clock"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClockError, match=str(path)):
        FileClock(path).now()


def test_the_system_clock_is_the_systems() -> None:
    before = time.time()
    assert before <= SystemClock().now() <= time.time()
