import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.typing_log import TypingLog
from device_runtime.typing_log.sealed_values import MAX_VALUE_BYTES

SECRET = b"xylophone quarrel"


@settings(max_examples=30, deadline=None)
@given(values=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.binary(max_size=99)))
def test_values_come_back(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "values.sqlite"
    with TypingLog(path) as log:
        for name, value in values.items():
            log.sealed.put(name, b"before")
            log.sealed.put(name, value)
    with TypingLog(path) as log:
        assert {name: log.sealed.get(name) for name in values} == values
        log.wipe()
        assert {log.sealed.get(name) for name in values} <= {None}


def test_a_value_is_sealed_and_counted(raw, empty_log):
    empty_log.sealed.put("cache", SECRET * 100)
    assert SECRET not in raw.content()
    assert empty_log.counts().bytes == len(SECRET) * 100 + 28
    empty_log.sealed.delete("cache")
    assert empty_log.sealed.get("cache") is None
    assert empty_log.counts().bytes == 0
    empty_log.sealed.delete("cache")


def test_two_values_cannot_be_swapped(raw, empty_log):
    empty_log.sealed.put("cache", SECRET)
    raw.execute("UPDATE sealed_values SET name = 'weights'")
    assert empty_log.sealed.get("weights") is None


def test_a_damaged_value_counts_as_absent(raw, empty_log):
    empty_log.sealed.put("cache", SECRET)
    raw.execute("UPDATE sealed_values SET sealed = x'00'")
    assert empty_log.sealed.get("cache") is None


def test_wiped_values_are_gone_from_the_file(raw, empty_log):
    empty_log.sealed.put("cache", SECRET * 10_000)
    sealed = raw.execute("SELECT sealed FROM sealed_values")[0][0]
    empty_log.wipe()
    content = raw.content()
    assert not any(sealed[i : i + 16] in content for i in range(0, len(sealed) - 16, 500))


def test_a_lost_key_loses_the_values(raw, empty_log, open_log):
    empty_log.sealed.put("cache", SECRET)
    empty_log.close()
    (raw.folder / "log.key").unlink()
    log = open_log()
    assert log.sealed.get("cache") is None
    assert raw.execute("SELECT count(*) FROM sealed_values") == [(0,)]


def test_a_value_without_bound_is_refused(empty_log):
    with pytest.raises(ValueError, match=f"at most {MAX_VALUE_BYTES} bytes, got {MAX_VALUE_BYTES + 1}"):
        empty_log.sealed.put("cache", bytes(MAX_VALUE_BYTES + 1))
