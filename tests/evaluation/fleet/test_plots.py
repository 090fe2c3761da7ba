"""Plots of a fleet: of everything, of one round, of none; populations in the colours that the page's key gives them."""

import re
from xml.etree import ElementTree as ET

import msgspec
import pytest

from evaluation.fleet.outcome import LiveDay
from evaluation.fleet.plots import draw_fleet

NAMES = {"recall", "rounds", "live", "epsilon", "dropouts"}


def parsed(plots):
    assert set(plots) == NAMES
    for name, svg in plots.items():
        found = ET.fromstring(svg.replace("xlink:", ""))  # noqa: S314  # ours; HTML knows that prefix
        assert found.tag.endswith("svg"), name
    return plots


def colours(svg):
    return set(re.findall(r"var\(--(line-\d)\)", svg))


def test_a_full_report_has_all_plots_and_both_populations_in_them(report):
    plots = parsed(draw_fleet(report))
    for name in ("recall", "rounds", "epsilon"):
        assert colours(plots[name]) == {"line-1", "line-2"}, name
    assert "in session: group ended" in plots["dropouts"]
    assert ">7<" in plots["dropouts"]
    assert plots == draw_fleet(msgspec.structs.replace(report)), "the same report must be drawn the same"


def test_where_nothing_came_about_there_is_something_to_see(empty):
    plots = parsed(draw_fleet(empty))
    assert "nobody" in plots["dropouts"]
    assert "no word was followed" in plots["live"]
    assert "no round with a guarantee" in plots["epsilon"]
    assert colours(plots["recall"]) == {"line-1", "line-2"}  # where it stood before the first round


@pytest.mark.parametrize("place", [0, 1, 2], ids=["closed", "abandoned", "open"])
def test_one_round_of_any_kind_is_drawn(report, place):
    parsed(draw_fleet(msgspec.structs.replace(report, rounds=(report.rounds[place],))))


def test_a_population_without_rounds_leaves_the_others_their_colours(report):
    german = tuple(each for each in report.rounds if each.population == "german")
    plots = draw_fleet(msgspec.structs.replace(report, rounds=german))
    assert colours(plots["rounds"]) == {"line-2"}
    assert colours(plots["epsilon"]) == {"line-2"}


def test_without_noise_without_suggestions_and_on_a_single_day_plots_are_drawn(report):
    days = (LiveDay(day=0, messages=1, words=2, accepted_share=0.0, saved_share=None),)
    rounds = tuple(msgspec.structs.replace(each, epsilon=None) for each in report.rounds)
    plots = parsed(draw_fleet(msgspec.structs.replace(report, live=days, rounds=rounds, days=0.0)))
    assert colours(plots["live"]) == {"line-1"}
    assert "no round with a guarantee" in plots["epsilon"]
