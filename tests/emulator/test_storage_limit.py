"""A disk without room refuses, and only as long as it should."""

import pytest

from emulator.storage_limit import largest_file


def test_what_is_too_large_is_refused_by_the_system(tmp_path):
    with largest_file(4096):
        (tmp_path / "small").write_bytes(b"x" * 4096)
        with pytest.raises(OSError, match="large"):
            (tmp_path / "large").write_bytes(b"x" * 8192)
    (tmp_path / "large").write_bytes(b"x" * 8192)


def test_without_a_limit_nothing_is_refused(tmp_path):
    with largest_file(None):
        (tmp_path / "large").write_bytes(b"x" * 100_000)
