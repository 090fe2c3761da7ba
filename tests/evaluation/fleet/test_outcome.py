"""A fleet's report as bytes: nothing is lost on the way, and nothing that is out of its bound comes in."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.fleet.outcome import InvalidFleetReport, decode_fleet_report, encode_fleet_report


def test_a_report_comes_back_as_it_was(report, empty):
    for each in (report, empty):
        assert decode_fleet_report(encode_fleet_report(each)) == each


def test_the_same_report_gives_the_same_bytes(report):
    payload = encode_fleet_report(report)
    assert encode_fleet_report(decode_fleet_report(payload)) == payload
    assert payload.endswith(b"}\n")


def test_reports_from_before_phones_were_asked_are_still_read(report):
    said = json.loads(encode_fleet_report(report))
    del said["is_real_time"], said["is_of_phone"]
    assert decode_fleet_report(json.dumps(said).encode()) == report


def damaged(report, *path, value):
    """The report's bytes with another value at `path`."""
    said = json.loads(encode_fleet_report(report))
    place = said
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("format_version",), 2, "format_version"),
        (("populations", 0, "top1_after"), 1.5, r"top1_after"),
        (("populations", 0, "devices"), -1, "devices"),
        (("rounds", 1, "number"), 0, r"rounds\[\.\.\.\]\.number|rounds\[1\]\.number"),
        (("rounds", 1, "population"), "klingon", "a round must be of one of the populations, got klingon"),
        (("drop_outs", 0, "phase"), "asleep", "phase"),
        (("traffic", "bytes_up"), 0.5, "bytes_up"),
        (("days",), None, "days"),
        (("days",), "2", "days"),
        (("fairness", 0, "selected"), -0.1, "selected"),
        (("events", "selected"), "many", "events"),
        (("colour",), "red", "colour"),
    ],
)
def test_a_damaged_report_is_refused_and_the_place_named(report, path, value, told):
    with pytest.raises(InvalidFleetReport, match=told):
        decode_fleet_report(damaged(report, *path, value=value))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_no_shortened_report_is_taken(report, data):
    payload = encode_fleet_report(report).strip()
    with pytest.raises(InvalidFleetReport):
        decode_fleet_report(payload[: data.draw(st.integers(0, len(payload) - 1))])


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"\xff", b"{}", b"[" * 100_000])
def test_what_is_no_report_is_refused(payload):
    with pytest.raises(InvalidFleetReport, match="not a valid report of a fleet"):
        decode_fleet_report(payload)


@pytest.mark.parametrize("days", [float("nan"), float("inf"), -1.0])
def test_what_cannot_be_read_again_is_not_written(report, days):
    with pytest.raises(InvalidFleetReport):
        encode_fleet_report(msgspec.structs.replace(report, days=days))
