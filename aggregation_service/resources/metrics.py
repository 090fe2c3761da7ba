"""GET what Prometheus asks for: what this host's processes counted, and how the database stands.

What comes from the database is the same whichever host is asked: take its maximum over hosts, not its sum.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.config import ServiceConfig, parse_networks
from aggregation_service.logs import log
from aggregation_service.metrics import database_answered, process_registry
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.refusals import RefusalKind, Refused
from aggregation_service.service import Service, current_service
from aggregation_service.storage import books, models
from aggregation_service.storage.leadership import newest_holder
from aggregation_service.storage.tables import rounds

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answers those in the configuration's `metrics_networks`; to others there is no such address."""
    service = current_service()
    if not _may_read(service.config):
        raise Refused(RefusalKind.UNKNOWN_ADDRESS, "there is no such address")
    from_database = _database_metrics(service)
    content = generate_latest(process_registry()) + from_database
    return Response(content, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


class DatabaseCollector(Collector):
    """Rounds and privacy as the database stands, read when asked."""

    def __init__(self, connection: Connection, privacy_delta: float) -> None:
        """Args: `privacy_delta` is the delta at which epsilon is told."""
        self._connection = connection
        self._delta = privacy_delta

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; nothing in them is about a single device."""
        yield from self._coordinator()
        yield from self._rounds()
        yield from self._privacy()

    def _coordinator(self) -> Iterator[Metric]:
        holder = newest_holder(self._connection)
        epoch = 0 if holder is None else holder.epoch
        yield GaugeMetricFamily("keychorus_coordinator_epoch", "How often a process took the lead.", value=epoch)

    def _rounds(self) -> Iterator[Metric]:
        ended = CounterMetricFamily(
            "keychorus_rounds", "Rounds ended: closed, or abandoned and why.", labels=("population", "outcome")
        )
        is_open = GaugeMetricFamily(
            "keychorus_open_round", "1 for the open round's phase.", labels=("population", "phase")
        )
        kinds = (rounds.c.population, rounds.c.phase, rounds.c.abandoned_because)
        for population, phase, because, count in self._connection.execute(
            select(*kinds, func.count()).group_by(*kinds).order_by(rounds.c.population)
        ):
            if phase in {"closed", "abandoned"}:
                ended.add_metric((population, because or phase), count)
            else:
                is_open.add_metric((population, phase), count)
        yield ended
        yield is_open

    def _privacy(self) -> Iterator[Metric]:
        spent = GaugeMetricFamily(
            "keychorus_epsilon_spent", "Epsilon spent on the worst device, by the ledger.", labels=("population",)
        )
        budget = GaugeMetricFamily(
            "keychorus_epsilon_budget", "Epsilon at which training stops.", labels=("population",)
        )
        for population in models.list_populations(self._connection):
            events = books.list_events(self._connection, population)
            spent.add_metric((population,), spent_on_worst_device(events, self._delta).epsilon)
            bound = models.get_policy(self._connection, population).epsilon_budget
            if bound is not None:
                budget.add_metric((population,), bound)
        yield spent
        yield budget


def _database_metrics(service: Service) -> bytes:
    """The database's part; nothing if it does not answer: the processes' part is wanted then most of all."""
    try:
        with service.database.read() as connection:
            told = generate_latest(DatabaseCollector(connection, service.config.privacy_delta))
    except SQLAlchemyError as error:
        log.warning("database_metrics_missing", exc_info=error)
        told = b""
    database_answered(is_up=told != b"")
    return told


def _may_read(config: ServiceConfig) -> bool:
    if "X-Forwarded-For" in request.headers and not config.trusted_proxies:
        return False  # it came through somebody, and nobody knows from whom
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:
        return False
    return any(address in network for network in parse_networks(config.metrics_networks))
