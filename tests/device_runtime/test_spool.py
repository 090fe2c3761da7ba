import pytest

from device_runtime.spool import Spool
from device_runtime.storage import UnreadableData


def test_update_survives_sealed(tmp_path):
    Spool(tmp_path).put("a" * 32, b"update of private words")
    assert Spool(tmp_path).get("a" * 32) == b"update of private words"
    assert b"private" not in (tmp_path / "update.sealed").read_bytes()


def test_another_assignment_or_none_is_refused(tmp_path):
    spool = Spool(tmp_path)
    with pytest.raises(UnreadableData):
        spool.get("a" * 32)
    spool.put("a" * 32, b"update")
    with pytest.raises(UnreadableData):
        spool.get("b" * 32)
    spool.clear()
    with pytest.raises(UnreadableData):
        spool.get("a" * 32)
