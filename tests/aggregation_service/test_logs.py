"""One line an event, in either form; never what a request brought."""

import json
import logging
from io import StringIO
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.logs import LogFormat, log, log_event, make_formatter
from aggregation_service.refusals import RefusalKind, Refused


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Any:
    """Captures what is logged in a form; called, it gives the lines so far."""

    def begin(log_format: LogFormat) -> Any:
        structlog.contextvars.clear_contextvars()  # a request that another test served in this thread left its id
        stream = StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(make_formatter(log_format))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        request.addfinalizer(lambda: log.removeHandler(handler))
        return lambda: stream.getvalue().splitlines()

    return begin


def test_text_is_key_and_value_and_time(lines: Any) -> None:
    told = lines("text")
    log_event("round_opened", population="en-gb", number=3)
    (line,) = told()
    assert line.startswith("timestamp=")
    assert line.endswith("Z level=info event=round_opened population=en-gb number=3")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_value_with_a_line_break_stays_in_its_line(lines: Any, log_format: LogFormat) -> None:
    told = lines(log_format)
    log_event("odd", value='a\nlevel=error event="forged"')
    assert len(told()) == 1
    assert "\\n" in told()[0]


def test_json_has_each_value_and_keeps_numbers(lines: Any) -> None:
    told = lines("json")
    log_event("flushed", updates=3, seconds=0.5, kind=RefusalKind.LATE_REPORT)
    line = json.loads(told()[0])
    assert (line["event"], line["updates"], line["seconds"], line["kind"]) == ("flushed", 3, 0.5, "late_report")
    assert set(line) == {"event", "updates", "seconds", "kind", "level", "timestamp"}


def test_bound_values_are_in_every_line_also_of_plain_calls(lines: Any) -> None:
    told = lines("json")
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        log.warning("something %s", "plain")
    log_event("after")
    assert [json.loads(line).get("request_id") for line in told()] == ["abc", None]
    assert json.loads(told()[0])["event"] == "something plain"


SECRET = "-".join(["device", "of", "somebody"])  # not in one piece, for a trace shows lines of code


def failing_query() -> None:
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT missing FROM nowhere WHERE id = :id"), {"id": SECRET})
    finally:
        engine.dispose()


def test_a_trace_tells_types_and_places_but_no_values_of_others(lines: Any) -> None:
    told = lines("text")
    with pytest.raises(SQLAlchemyError, match=SECRET) as raised:
        failing_query()
    log.error("query_failed", exc_info=raised.value)
    (line,) = told()
    assert SECRET not in line
    assert "sqlalchemy.exc.OperationalError" in line
    assert "sqlite_errorname=SQLITE_ERROR" in line
    assert "failing_query" in line


def test_a_trace_tells_our_own_messages_and_the_causes(lines: Any) -> None:
    told = lines("json")
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise Refused(RefusalKind.LATE_REPORT, "the round has ended") from error
    except Refused:
        log.exception("refused")
    trace = json.loads(told()[0])["exception"]
    assert trace.index("builtins.ValueError") < trace.index("which led to:")
    assert trace.endswith("aggregation_service.refusals.Refused: the round has ended")
    assert SECRET not in trace
