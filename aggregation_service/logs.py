"""Program logs: one line an event, as `key=value` or JSON, each with its request's id.

Guarantees, as long as callers give `log_event` nothing of a request's body: no line names a device or an address, and
no line quotes what was sent. An exception's text is logged only if its class is Keychorus's own, whose messages quote
nothing; other libraries' messages may (SQLAlchemy quotes parameters, PostgreSQL the key that was a duplicate), so of
those a line tells the classes, the places in the code, and the database's or system's error code.
"""

import logging
from collections.abc import Iterator
from traceback import StackSummary, walk_tb
from typing import Literal, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

LogFormat = Literal["text", "json"]

log = logging.getLogger("aggregation_service")

_OWN_PACKAGES = ("aggregation_service.", "protocol.")
_ERROR_CODES = ("sqlstate", "sqlite_errorname", "errno")


def log_event(event: str, **values: object) -> None:
    """Logs an event with its values, for example `round_opened round=… number=3`."""
    text = " ".join([event, *(f"{name}={value}" for name, value in values.items())])
    log.info("%s", text, extra={"event": event, "values": values})


def log_to_stderr(log_format: LogFormat = "text") -> None:
    """Sends the service's own log to standard error, and gives gunicorn's lines the same form; libraries' stay out."""
    handler = logging.StreamHandler()
    handler.setFormatter(make_formatter(log_format))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    for gunicorn_handler in logging.getLogger("gunicorn.error").handlers:
        gunicorn_handler.setFormatter(make_formatter(log_format))


def make_formatter(log_format: LogFormat) -> logging.Formatter:
    """The form of a line: time (UTC), level, event, its values, the request's id, and the trace of an exception."""
    first = ("timestamp", "level", "event")
    as_text, as_json = structlog.processors.LogfmtRenderer(key_order=first), structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            _values_of_event,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            _trace_without_values,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            as_json if log_format == "json" else as_text,
        ],
    )


def _values_of_event(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    """Takes `log_event`'s values apart again, so that JSON has them one by one."""
    record: logging.LogRecord = line["_record"]
    values: dict[str, object] = getattr(record, "values", {})
    line["event"] = getattr(record, "event", line["event"])
    line.update({name: value if isinstance(value, int | float) else str(value) for name, value in values.items()})
    return line


def _trace_without_values(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    error = (line.pop("exc_info", None) or (None, None))[1]
    if error is not None:
        line["exception"] = "\n".join(_trace(error))
    return line


def _trace(error: BaseException) -> Iterator[str]:
    """The lines of a trace, causes first, as Python prints it but for messages that may quote a request."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _trace(earlier)
        yield "which led to:"
    yield from (line.rstrip() for line in StackSummary.extract(walk_tb(error.__traceback__)).format())
    yield _describe(error)


def _describe(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if name.startswith(_OWN_PACKAGES):
        return f"{name}: {error}"
    codes = ((code, getattr(error, code, None)) for code in _ERROR_CODES)
    return " ".join([name, *(f"{code}={cast(object, value)}" for code, value in codes if value is not None)])
