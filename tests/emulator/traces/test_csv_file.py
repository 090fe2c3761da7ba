"""Traces of one's own: what the file says, and one sentence for what it must not say."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.trace import HOUR_S
from emulator.traces.csv_file import CsvTraces, InvalidTraces

HEAD = "device,condition,start_h,end_h\n"


def traces(tmp_path, rows, start=1000.0):
    path = tmp_path / "traces.csv"
    path.write_text(HEAD + rows)
    return CsvTraces(path, start=start)


def test_a_device_may_act_where_all_three_conditions_hold(tmp_path):
    trace = traces(tmp_path, "4,charging,1,5\n4,idle,2,6\n4,unmetered,0,3\n4,all,10,11\n").of(0)
    assert trace.next_eligible(1000.0) == 1000 + 2 * HOUR_S
    assert trace.conditions(1000 + 2.5 * HOUR_S).eligible
    assert trace.next_eligible(1000 + 3 * HOUR_S) == 1000 + 10 * HOUR_S
    assert trace.next_eligible(1000 + 11 * HOUR_S) is None


def test_devices_that_the_file_does_not_name_take_its_traces_in_turn(tmp_path):
    found = traces(tmp_path, "7,all,1,2\n3,all,5,6\n3,all,5.5,8\n")
    assert found.of(0).idle.spans == ((1000 + 5 * HOUR_S, 1000 + 8 * HOUR_S),)
    assert found.of(1) == found.of(3)
    assert found.of(1).idle.spans == ((1000 + HOUR_S, 1000 + 2 * HOUR_S),)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("0,all,1,2\nx,all,1,2\n", r"line 3: device must be a number in \[0, 10,000,000\], got 'x'"),
        ("0.5,all,1,2\n", "line 2: device must be a whole number, got '0.5'"),
        ("-1,all,1,2\n", "line 2: device must be a number"),
        ("0,awake,1,2\n", "line 2: condition must be one of idle, charging, unmetered, all, got 'awake'"),
        ("0,all,2,2\n", "line 2: end_h must be > start_h = 2, got 2"),
        ("0,all,nan,2\n", r"line 2: start_h must be a number in \[0, 8,784\], got 'nan'"),
        ("0,all,1,1e9\n", "line 2: end_h must be a number"),
        ("0,all,1\n", "line 2: a row must have 4 values"),
        ("0,all,1,2,3\n", "line 2: a row must have 4 values"),
        ("", "must have a row for at least 1 device, got none"),
    ],
)
def test_what_is_wrong_is_told_with_line_column_value_and_bound(tmp_path, rows, told):
    with pytest.raises(InvalidTraces, match=told) as caught:
        traces(tmp_path, rows)
    assert "traces.csv" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"device;condition\n", b"\xff\xfe\x00", b"", b"\0", HEAD.encode() + b"0,all,1,\0", b"a" * 200_000]
)
def test_another_file_is_refused_in_one_short_line(tmp_path, content):
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidTraces, match=r"other\.csv") as caught:
        CsvTraces(path, start=0.0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_whatever_a_row_holds_is_taken_or_told_in_one_short_line(tmp_path, row):
    path = tmp_path / "any.csv"
    path.write_bytes(HEAD.encode() + b"0,all,1,2\n" + row)
    told = f"{path}."
    try:
        CsvTraces(path, start=0.0)
    except InvalidTraces as error:
        told = str(error)
    assert told.startswith(str(path))
    assert told.isprintable()
    assert len(told) < 400


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_bytes(f"\ufeff{HEAD}0,all,1,2\r\n".encode())
    assert CsvTraces(path, start=0.0).of(0).next_eligible(0.0) == HOUR_S


def test_a_file_that_is_too_large_is_told_and_not_read(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(1_000_000_001)  # a hole: it takes no room
    with pytest.raises(InvalidTraces, match=r"huge\.csv must have at most 1,000,000,000 bytes, got 1,000,000,001"):
        CsvTraces(path, start=0.0)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InvalidTraces, match="cannot be read: No such file"):
        CsvTraces(tmp_path / "missing.csv", start=0.0)
    with pytest.raises(InvalidTraces, match="cannot be read: Is a directory"):
        CsvTraces(tmp_path, start=0.0)
