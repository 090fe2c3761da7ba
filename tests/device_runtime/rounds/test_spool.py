import pytest

from device_runtime.rounds.spool import Spool
from device_runtime.storage.files import UnreadableData, UnusableKey


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


def test_after_a_damaged_key_what_waited_is_lost_and_the_spool_goes_on(tmp_path):
    Spool(tmp_path).put("a" * 32, b"update")
    (tmp_path / "spool.key").write_bytes(b"short")
    spool = Spool(tmp_path)
    with pytest.raises(UnreadableData):
        spool.get("a" * 32)
    spool.put("b" * 32, b"next")
    assert Spool(tmp_path).get("b" * 32) == b"next"


def test_a_key_that_others_may_read_is_refused(tmp_path):
    Spool(tmp_path)
    (tmp_path / "spool.key").chmod(0o640)
    with pytest.raises(UnusableKey, match="must have mode 0600, got 0640"):
        Spool(tmp_path)
