import pytest

from device_runtime.network.file_cache import FileCache
from protocol.errors import WrongContent
from protocol.manifest import FileEntry


def test_what_was_put_is_got_by_another_process(tmp_path):
    entry = FileEntry.of(b"content")
    FileCache(tmp_path / "cache").put(entry, b"content")
    assert FileCache(tmp_path / "cache").get(entry) == b"content"


def test_absent_is_none(tmp_path):
    assert FileCache(tmp_path / "cache").get(FileEntry.of(b"content")) is None


def test_wrong_content_is_never_kept(tmp_path):
    cache = FileCache(tmp_path)
    with pytest.raises(WrongContent):
        cache.put(FileEntry.of(b"content"), b"c0ntent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"c0ntent", b"content and more"])
def test_damaged_counts_as_absent_and_is_replaced(tmp_path, damage):
    cache, entry = FileCache(tmp_path), FileEntry.of(b"content")
    cache.put(entry, b"content")
    (tmp_path / entry.sha256).write_bytes(damage)
    assert cache.get(entry) is None
    cache.put(entry, b"content")
    assert cache.get(entry) == b"content"


def test_prune_keeps_what_it_is_told_to(tmp_path):
    cache = FileCache(tmp_path / "cache")
    cache.prune([])
    kept, other = FileEntry.of(b"kept"), FileEntry.of(b"other")
    cache.put(kept, b"kept")
    cache.put(other, b"other")
    cache.prune([kept])
    assert cache.get(kept) == b"kept"
    assert cache.get(other) is None


def test_a_beginning_is_kept_with_its_file_and_never_taken_for_it(tmp_path):
    cache = FileCache(tmp_path / "cache")
    entry, other = FileEntry.of(b"content"), FileEntry.of(b"other")
    assert cache.get_beginning(entry) == b""
    cache.put_beginning(entry, b"")
    for each in (entry, other):
        cache.put_beginning(each, b"con")
    assert cache.get(entry) is None
    cache.prune([entry])
    assert (cache.get_beginning(entry), cache.get_beginning(other)) == (b"con", b"")
    cache.put_beginning(entry, b"content")  # all of it, so there is nothing left to ask for
    assert cache.get_beginning(entry) == b""
