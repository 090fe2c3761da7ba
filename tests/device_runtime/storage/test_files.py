import os
import secrets
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.storage.files import (
    AlreadyRunning,
    Sealer,
    UnreadableData,
    UnusableKey,
    directory_lock,
    only_process,
    private_directory,
    write_atomically,
)

KEY = bytes(range(32))


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
def test_what_was_sealed_opens(content, context):
    sealer = Sealer(KEY)
    sealed = sealer.seal(content, context)
    assert sealer.open(sealed, context) == content
    assert sealed != sealer.seal(content, context)


@pytest.mark.parametrize("change", ["context", "bit", "truncated", "empty", "key"])
def test_anything_else_does_not_open(change):
    sealer = Sealer(KEY)
    sealed = sealer.seal(b"secret words", b"row 1")
    context = b"row 2" if change == "context" else b"row 1"
    if change == "bit":
        sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    if change in ("truncated", "empty"):
        sealed = sealed[:14] if change == "truncated" else b""
    if change == "key":
        sealer = Sealer(bytes(32))
    with pytest.raises(UnreadableData) as error:
        sealer.open(sealed, context)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(UnusableKey, match=f"must have 32 bytes, got {length}"):
        Sealer(bytes(length))


def test_a_fingerprint_tells_keys_apart_and_fits_sqlite():
    fingerprints = {Sealer(secrets.token_bytes(32)).fingerprint for _ in range(100)}
    assert len(fingerprints) == 100
    assert all(-(2**63) <= each < 2**63 for each in fingerprints)
    assert Sealer(KEY).fingerprint == Sealer(KEY).fingerprint


def test_a_directory_is_locked_for_one_holder_at_a_time(tmp_path):
    inside, most_inside = 0, 0

    def visit(_):
        nonlocal inside, most_inside
        with directory_lock(tmp_path / "new"):
            inside += 1
            most_inside = max(most_inside, inside)
            time.sleep(0.002)
            inside -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(visit, range(16)))
    assert most_inside == 1
    assert list((tmp_path / "new").iterdir()) == []


def test_lock_is_held_by_one_and_given_back(tmp_path):
    with only_process(tmp_path / "lock"), pytest.raises(AlreadyRunning), only_process(tmp_path / "lock"):
        pass
    with only_process(tmp_path / "lock"):
        pass


def test_private_directory_is_for_its_owner(tmp_path):
    assert stat.S_IMODE(private_directory(tmp_path / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize(("durable", "synced"), [(True, ["file", "directory"]), (False, [])])
def test_the_name_reaches_the_disk_after_the_content(*, tmp_path, monkeypatch, durable, synced):
    order = []

    def note(descriptor):
        order.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(tmp_path / "promise", b"kept", durable=durable)
    assert order == synced
