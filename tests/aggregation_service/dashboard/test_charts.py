"""Charts as SVG in the page: no script, no style, nothing from elsewhere, every value told."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from aggregation_service.dashboard import charts
from aggregation_service.dashboard.views.rounds import PHASES_LOST_IN, RoundView

ROUND = RoundView(
    id="0" * 32,
    number=1,
    kind="training",
    phase="closed",
    abandoned_because=None,
    model_version=0,
    selected=10,
    cohort_size=10,
    reported=8,
    report_goal=8,
    shortened=0,
    opened_at=0.0,
    deadline_at=1200.0,
    ended_at=600.0,
    bytes_up=5_000_000,
    result=None,
)
ABANDONED = replace(ROUND, number=2, phase="abandoned", abandoned_because="too_few_reports", reported=1)
OPEN = replace(ROUND, number=3, phase="reporting", reported=3, ended_at=None)
ROUNDS = (ROUND, ABANDONED, OPEN)
DRAWINGS: dict[str, Callable[[tuple[RoundView, ...]], str]] = {
    "cohorts": charts.cohorts,
    "drop_outs": charts.drop_outs,
    "durations": charts.durations,
    "bytes_up": charts.bytes_up,
    "spending": lambda rounds: charts.spending(rounds, {ROUND.id: 1.5}, 8.0),
    "recalls": lambda rounds: charts.recalls(rounds, {"first": [0.12, None, 0.13][: len(rounds)]}),
}


def parts(drawn: str, kind: str) -> list[Any]:
    return list(read(drawn).iter(kind))


def read(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314  # drawn by ourselves


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("rounds", [ROUNDS, ROUNDS[:1]])
def test_nothing_that_the_page_forbids(name: str, rounds: tuple[RoundView, ...]) -> None:
    drawn = DRAWINGS[name](rounds)
    for forbidden in (
        "<script",
        "<style",
        "style=",
        "http",
        "file:",
        "@import",
        "url(",
        "onclick",
        "font-family",
        "<!--",
    ):
        assert forbidden not in drawn
    root = read(drawn)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "cohorts",
            [
                "round 1: 8 reported",
                "round 1: 2 dropped out",
                "round 2: 10 selected in vain",
                "round 3: 7 still at work",
            ],
        ),
        (
            "drop_outs",
            [
                "round 1: 2 not awaited at the goal",
                "round 2: 9 silent in reporting",
                "round 2: 1 in vain after reporting",
                *[f"round 3: 0 {phase}" for phase in PHASES_LOST_IN.values()],
            ],
        ),
        ("durations", ["round 1: 10 min open", "round 2: 10 min open"]),
        ("bytes_up", ["round 1: 5 MB received", "round 2: 5 MB received", "round 3: 5 MB received"]),
        ("spending", ["round 1: 1.5 ε spent", "round 1: 8 ε allowed"]),
        ("recalls", ["round 1: 12.0 % first", "round 3: 13.0 % first"]),
    ],
)
def test_every_value_is_told(name: str, told: list[str]) -> None:
    rounds = tuple(replace(found, id=found.id if found is ROUND else "1" * 32) for found in ROUNDS)
    titles = [title.text for title in parts(DRAWINGS[name](rounds), "title")]
    assert set(told) <= set(titles)


def test_abandoned_rounds_are_marked_on_the_axis() -> None:
    labels = [text.text for text in parts(charts.cohorts(ROUNDS), "text")]
    assert labels.count(charts.ABANDONED) == 1
    assert {"1", "3"} <= set(labels)


def test_no_number_touches_a_mark() -> None:
    rounds = tuple(replace(ROUND if number % 5 else ABANDONED, number=number) for number in range(1, 41))
    labels = charts._labels(rounds)
    assert labels.count(charts.ABANDONED) == 8
    touching = [pair for pair in itertools.pairwise(labels) if charts.ABANDONED in pair and pair.count("") == 0]
    assert touching == []
    assert "13" in labels


def test_many_rounds_have_few_labels_and_no_ellipsis() -> None:
    rounds = tuple(replace(ROUND, number=number) for number in range(1001, 1061))
    labels = [text.text or "" for text in parts(charts.cohorts(rounds), "text")]
    assert 5 <= sum(label.startswith("10") and len(label) == 4 for label in labels) <= 10
    assert not [label for label in labels if "…" in label]


def test_without_noise_there_is_no_line() -> None:
    drawn = charts.spending((ROUND,), {ROUND.id: math.inf}, None)
    assert parts(drawn, "circle") == []


@pytest.mark.parametrize(("seconds", "unit"), [(50, "s"), (600, "min"), (20_000, "h"), (400_000, "d")])
def test_the_axis_has_a_unit_that_fits(seconds: float, unit: str) -> None:
    drawn = charts.durations((replace(ROUND, ended_at=seconds),))
    assert [text.text for text in parts(drawn, "text") if (text.text or "").endswith(f" {unit}")]


def test_names_are_escaped() -> None:
    drawn = charts.recalls((ROUND,), {'<b>&"': [0.5]})
    assert "<b>" not in drawn
    assert 'round 1: 50.0 % <b>&"' in [title.text for title in parts(drawn, "title")]
