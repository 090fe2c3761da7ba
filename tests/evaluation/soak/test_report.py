"""A soak's report: what it says can be read again, its page asks for nothing from outside, failures are told."""

import re

import msgspec
import pytest
from rich.console import Console

from evaluation.soak.outcome import (
    InvalidSoakReport,
    MemorySample,
    MemorySlope,
    SoakCheck,
    SoakReport,
    SoakRound,
    decode_soak_report,
)
from evaluation.soak.report import print_soak_report, render_soak_report, write_soak_report


@pytest.fixture
def report():
    rounds = tuple(
        SoakRound(
            number=number,
            because="key_lost" if number == 2 else "",
            duration_s=900.0,
            selected=6,
            counted=4,
            acknowledged=4,
            off=None if number == 2 else 0.5,
            least_update=None if number == 2 else 4e6,
        )
        for number in range(1, 5)
    )
    return SoakReport(
        devices=12,
        size="small",
        database="postgresql",
        seed=7,
        rounds_wanted=3,
        virtual_hours=2.5,
        seconds=100.0,
        rounds=rounds,
        connections=1234,
        faults={"refused": 5, "answer cut": 3},
        kills={"coordinator": 1},
        kills_until_round=2,
        events={"reported": 12, "told_to_wait": 30},
        longest_unserved_s=141.0,
        checks=(SoakCheck(name="sums", found="3 sums"), SoakCheck(name="ledger", found="3 booked")),
        slopes=(MemorySlope(role="service", kb_per_round=12.0, low=-3.0, high=27.0, samples=40, processes=3),),
        memory=tuple(
            MemorySample(role=role, rounds_ended=number, megabytes=200.0, processes=3)
            for role in ("devices", "service")
            for number in range(1, 5)
        ),
        software={"keychorus": "0.1.0"},
    )


def failed(report):
    check = SoakCheck(name="ledger", found="3 booked", failures=("round 2 must be in the ledger once, got 0 times",))
    return msgspec.structs.replace(report, checks=(report.checks[0], check))


def test_it_can_be_read_again(report, tmp_path):
    json_path, html_path = write_soak_report(report, tmp_path / "new")
    assert (json_path.name, html_path.name) == ("soak.json", "soak.html")
    assert decode_soak_report(json_path.read_bytes()) == report
    assert report.closed == 3
    assert html_path.read_text() == render_soak_report(report)


def test_the_page_asks_for_nothing_from_outside(report):
    page = render_soak_report(report)
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert all(reference.startswith("#") for reference in references)
    assert {reference[1:] for reference in references} <= set(ids)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "+12 kB a round (95 %: −3 to +27)" in page
    assert "Every check held" in page


def test_without_memory_and_without_faults_there_is_still_a_page(report):
    bare = msgspec.structs.replace(report, memory=(), slopes=(), faults={}, kills={}, rounds=())
    assert "Every check held" in render_soak_report(bare)


def test_failures_are_told_on_page_and_terminal(report):
    page = render_soak_report(failed(report))
    assert "1 failures" in page
    assert "round 2 must be in the ledger once, got 0 times" in page
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115  # closed below
    print_soak_report(failed(report), console)
    console.file.close()
    text = console.export_text()
    assert "Failed: round 2 must be in the ledger once, got 0 times" in text
    assert "coordinator killed 1 times" in text


def test_what_is_out_of_its_bound_is_not_written(report, tmp_path):
    wrong = msgspec.structs.replace(report, connections=-1)
    with pytest.raises(InvalidSoakReport, match="connections"):
        write_soak_report(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []
