import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from evaluation.report import print_summary, render_page, software_versions, write_report
from evaluation.report_schema import InvalidReport, Report, decode_report, encode_report

_VOID = {"meta", "link", "br", "hr", "img", "input"}


class _Page(HTMLParser):
    """Collects what a page refers to and checks that its elements nest."""

    def __init__(self, page: str):
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.references += [named[name] for name in ("src", "href", "xlink:href", "srcset") if name in named]
        self.references += re.findall(r"url\(([^)]*)\)", " ".join(named.values()))
        self.ids += [named["id"]] if "id" in named else []
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_json_has_the_promised_keys(report: Report, tmp_path: Path) -> None:
    json_path, _ = write_report(report, tmp_path / "demo")
    data = json.loads(json_path.read_bytes())
    for group in ("held_out", "devices"):
        for predictor in ("unigram", "pretrained", "federated"):
            assert {"top1", "top3", "keystroke_savings", "perplexity"} <= set(data["accuracy"][group][predictor])
    assert {"epsilon", "delta", "mechanism", "noise_multiplier", "statement"} <= set(data["privacy"])
    assert {"up_per_device_round", "down_per_device_round"} <= set(data["bytes"])
    assert len(data["rounds"]) == len(report.rounds)
    assert data["seed"] == report.seed
    assert data["seconds"]["pre-train"] == 61.0


def test_json_round_trips(report: Report) -> None:
    assert decode_report(encode_report(report)) == report


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("privacy", {"delta": -0.1}),
        ("privacy", {"noise_multiplier": float("nan")}),
        ("fleet", {"devices": -1}),
        ("bytes", {"up_per_device_round": float("inf")}),
    ],
)
def test_values_out_of_bound_are_refused_and_nothing_is_written(
    report: Report, tmp_path: Path, section: str, change: dict[str, float]
) -> None:
    part = msgspec.structs.replace(getattr(report, section), **change)
    broken = msgspec.structs.replace(report, **{section: part})
    with pytest.raises(InvalidReport):
        write_report(broken, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_report_of_another_form_is_refused() -> None:
    with pytest.raises(InvalidReport):
        decode_report(b'{"format_version": 1}')


def test_page_asks_for_nothing_from_outside(report: Report) -> None:
    page = _Page(render_page(report))
    assert page.references, "plots refer to their own clip paths"
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert page.open == []


def test_ids_of_plots_do_not_collide(report: Report) -> None:
    ids = _Page(render_page(report)).ids
    assert len(ids) == len(set(ids))


def test_plots_take_their_colours_from_the_page(report: Report) -> None:
    page = render_page(report)
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", page)
    assert page.count("<svg") == 6


def test_page_is_the_same_for_the_same_report(report: Report) -> None:
    assert render_page(report) == render_page(report)


def test_page_shows_the_statement_and_the_figures(report: Report) -> None:
    text = " ".join(_Page(render_page(report)).text.split())
    assert report.privacy.statement in text
    assert "13.8 %" in text
    assert "ε = 212" in text


def test_page_escapes_words_from_outside(report: Report) -> None:
    page = render_page(msgspec.structs.replace(report, corpus="<script>alert(1)</script>"))
    assert "<script>" not in page


def test_a_run_without_noise_says_that_nothing_is_promised(report: Report, tmp_path: Path) -> None:
    privacy = msgspec.structs.replace(report.privacy, epsilon=float("inf"))
    rounds = tuple(msgspec.structs.replace(row, epsilon=None, top1=None, loss=None) for row in report.rounds)
    json_path, html_path = write_report(msgspec.structs.replace(report, privacy=privacy, rounds=rounds), tmp_path)
    assert json.loads(json_path.read_bytes())["privacy"]["epsilon"] is None
    page = html_path.read_text(encoding="utf-8")
    assert "no noise, no guarantee" in page
    assert "ε = ∞" in page


def test_summary_names_every_predictor_and_the_price(report: Report) -> None:
    stream = io.StringIO()
    print_summary(report, Console(width=100, file=stream))
    text = stream.getvalue()
    for words in ("Word list", "Pre-trained", "Federated", "13.8 %", "5.7 MB up", "at scale"):
        assert words in text


def test_software_versions_are_of_what_is_installed() -> None:
    versions = software_versions()
    assert versions["numpy"].startswith("1.")
    assert all(versions.values())
