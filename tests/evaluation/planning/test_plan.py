import io
from dataclasses import fields

import msgspec
import pytest
from made_up_costs import make_costs
from rich.console import Console

from evaluation.planning.assumptions import Assumptions
from evaluation.planning.plan import Plan, make_plan
from evaluation.planning.rows import Row
from evaluation.planning.table import print_plan, shown

ASSUMED = Assumptions(mechanism="independent")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(ASSUMED, make_costs())


def value(rows: tuple[Row, ...], name: str) -> float:
    (found,) = (row.value for row in rows if row.name == name)
    assert isinstance(found, int | float)
    return found


def test_days_are_rounds_by_rounds_a_day(plan: Plan) -> None:
    assert value(plan.rounds, "days to 2,000 rounds") == pytest.approx(2000 / value(plan.rounds, "rounds a day"))


def test_every_row_says_where_it_is_from(plan: Plan) -> None:
    for chapter, origin in (("device", "derived"), ("assumed", "assumed"), ("measured", "measured")):
        rows: tuple[Row, ...] = getattr(plan, chapter)
        assert {row.origin for row in rows} == {origin}
        assert all(row.source for row in rows)


def test_every_assumption_is_told_and_a_readers_own_is_told_apart(plan: Plan) -> None:
    sources = {row.name: row.source for row in plan.assumed}
    assert set(sources) == {known.name for known in fields(Assumptions)}
    assert sources["mechanism"] == "given on the command line"
    assert sources["swing"] == "arXiv 1902.01046, section 9"


def test_a_plan_is_json_and_back(plan: Plan) -> None:
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_battery_a_month_is_that_of_its_rounds(plan: Plan) -> None:
    month = value(plan.device, "battery, a round") * value(plan.device, "rounds a month")
    assert value(plan.device, "battery, a month") == pytest.approx(month)


def test_peaks_are_above_means(plan: Plan) -> None:
    for rows, name in ((plan.network, "in"), (plan.network, "out"), (plan.database, "written")):
        assert value(rows, f"{name}, peak") > value(rows, f"{name}, mean")


@pytest.mark.parametrize("everything", [True, False])
def test_the_table_shows_every_row(plan: Plan, everything: bool) -> None:
    written = io.StringIO()
    print_plan(plan, Console(file=written, width=220), everything=everything)
    rows = [*plan.rounds, *plan.privacy, *plan.service, *plan.database, *plan.network, *plan.device]
    for row in rows + ([*plan.assumed, *plan.measured] if everything else []):
        assert row.name in written.getvalue()
        assert shown(row) in written.getvalue()
    assert ("predicted" in written.getvalue()) is everything
    assert plan.measured_by in written.getvalue()


@pytest.mark.parametrize(
    ("figure", "text"),
    [(None, "none"), (True, "yes"), ("buffered", "buffered"), (12, "12"), (0.00012, "0.00012"), (1e-10, "1e-10")],
)
def test_values_are_shown_as_people_read_them(figure: float | str | None, text: str) -> None:
    assert shown(Row(name="", value=figure, unit="", origin="derived", source="")) == text
