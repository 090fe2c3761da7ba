"""Program logs: one line an event, `key=value`. Never from a request's body; devices are not named."""

import logging

log = logging.getLogger("aggregation_service")


def log_event(event: str, **values: object) -> None:
    """Logs an event with its values, for example `round_opened round=… number=3`."""
    log.info("%s", " ".join([event, *(f"{name}={value}" for name, value in values.items())]))


def log_to_stderr() -> None:
    """Sends the service's own log to standard error, as gunicorn does its; libraries' stays out."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s level=%(levelname)s %(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
