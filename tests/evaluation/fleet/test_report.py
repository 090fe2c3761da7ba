"""A fleet's page, files and tables: complete, nested, and asking for nothing from outside."""

import io
import json
import re
from functools import cache
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from evaluation.fleet import report as module
from evaluation.fleet.outcome import InvalidFleetReport, decode_fleet_report, encode_fleet_report
from evaluation.fleet.plots import draw_fleet
from evaluation.fleet.report import print_fleet_report, render_fleet_report, write_fleet_report

VOID = {"meta", "link", "br", "hr", "img", "input"}


@pytest.fixture(autouse=True)
def plots_drawn_once(report, monkeypatch):
    monkeypatch.setattr(module, "draw_fleet", lambda _: drawn(encode_fleet_report(report)))


@cache
def drawn(payload):
    return draw_fleet(decode_fleet_report(payload))


class Page(HTMLParser):
    """Collects text and references of a page, and checks that its elements nest."""

    def __init__(self, page):
        super().__init__()
        self.references, self.open, self.tags, self.text = [], [], [], ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        named = {name: value or "" for name, value in attrs}
        self.references += [named[name] for name in ("src", "href", "xlink:href", "srcset", "action") if name in named]
        self.references += re.findall(r"url\(([^)]*)\)", " ".join(named.values()))
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_what_the_report_says(report):
    text = " ".join(Page(render_fleet_report(report)).text.split())
    for told in (
        "Two towns, told with <b>care</b> & at length.",
        "60 emulated devices lived 2 days",
        "2 of 4 rounds closed; half of these within 0.50 hours",
        "all processes of the service were killed",
        "english", "german", "1,234 words",
        "violating", "slow", "told to wait", "900 training steps, 0.5 hours",
    ):  # fmt: skip
        assert told in text, told


def test_the_page_asks_for_nothing_from_outside(report, empty):
    for each in (report, empty):
        page = Page(render_fleet_report(each))
        assert all(reference.startswith("#") for reference in page.references if reference != "report.json")
        assert not {"script", "link", "img", "iframe", "form"} & set(page.tags)


def test_a_page_of_nothing_is_still_a_page(empty):
    text = " ".join(Page(render_fleet_report(empty)).text.split())
    assert "0 of 0 rounds closed." in text
    assert "Who did not keep to the plan" not in text
    assert "What happened to the service" not in text
    assert "Whose words counted" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "Battery, network, clock and the people who type are made up."),
        ({"is_real_time": True}, "the clock is the machine's."),
        ({"is_real_time": True, "is_of_phone": True}, "Battery and network are a phone's, asked by adb"),
    ],
)
def test_the_page_says_what_was_made_up(report, changes, told):
    text = " ".join(Page(render_fleet_report(msgspec.structs.replace(report, **changes))).text.split())
    assert told in text


def test_three_files_are_written_and_read_back(report, timings, tmp_path):
    json_path, html_path = write_fleet_report(report, timings, tmp_path / "out")
    assert decode_fleet_report(json_path.read_bytes()) == report
    assert html_path.read_text() == render_fleet_report(report)
    assert json.loads((tmp_path / "out" / "timings.json").read_bytes())["device_cpu_s"] == 12.0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "timings.json"]


def test_a_report_that_says_the_impossible_leaves_no_file(report, timings, tmp_path):
    with pytest.raises(InvalidFleetReport):
        write_fleet_report(msgspec.structs.replace(report, devices=-1), timings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_terminal_is_told_the_same(report, empty):
    for each, told in ((report, ("2", "52 times a device was selected, 11 times it was lost")), (empty, ("0 of 0",))):
        console = Console(file=io.StringIO(), width=120)
        print_fleet_report(each, console)
        printed = console.file.getvalue()
        assert "english" in printed
        for words in told:
            assert words in printed
