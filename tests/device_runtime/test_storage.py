import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.storage import (
    AlreadyRunning,
    Sealer,
    UnreadableData,
    UnusableKey,
    only_process,
    private_directory,
    write_atomically,
)


def test_files_are_private_and_replaced_whole(tmp_path):
    path = tmp_path / "state"
    write_atomically(path, b"first, and longer")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "state"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


@given(content=st.binary(max_size=200), context=st.binary(max_size=20))
def test_what_was_sealed_opens(tmp_path_factory, content, context):
    sealer = Sealer(tmp_path_factory.getbasetemp() / "shared.key")
    sealed = sealer.seal(content, context)
    assert sealer.open(sealed, context) == content
    assert sealed != sealer.seal(content, context)


@pytest.mark.parametrize("change", ["context", "bit", "truncated", "empty", "key"])
def test_anything_else_does_not_open(tmp_path, change):
    sealer = Sealer(tmp_path / "a.key")
    sealed = sealer.seal(b"secret words", b"row 1")
    context = b"row 2" if change == "context" else b"row 1"
    if change == "bit":
        sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    if change in ("truncated", "empty"):
        sealed = sealed[:14] if change == "truncated" else b""
    if change == "key":
        sealer = Sealer(tmp_path / "b.key")
    with pytest.raises(UnreadableData) as error:
        sealer.open(sealed, context)
    assert "secret" not in str(error.value)


def test_key_is_made_once_and_private(tmp_path):
    Sealer(tmp_path / "new" / "device.key")
    path = tmp_path / "new" / "device.key"
    first = path.read_bytes()
    Sealer(path)
    assert path.read_bytes() == first
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["device.key"]


def test_key_that_others_may_read_is_refused(tmp_path):
    Sealer(tmp_path / "device.key")
    (tmp_path / "device.key").chmod(0o640)
    with pytest.raises(UnusableKey, match="must have mode 0600, got 0640"):
        Sealer(tmp_path / "device.key")


def test_damaged_key_is_refused(tmp_path):
    write_atomically(tmp_path / "device.key", b"short")
    with pytest.raises(UnusableKey, match="must have 32 bytes, got 5"):
        Sealer(tmp_path / "device.key")


def test_lock_is_held_by_one_and_given_back(tmp_path):
    with only_process(tmp_path / "lock"), pytest.raises(AlreadyRunning), only_process(tmp_path / "lock"):
        pass
    with only_process(tmp_path / "lock"):
        pass


def test_private_directory_is_for_its_owner(tmp_path):
    assert stat.S_IMODE(private_directory(tmp_path / "data").stat().st_mode) == 0o700
