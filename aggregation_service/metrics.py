"""What the service counts for Prometheus. Each host answers for its own processes; see `resources/metrics.py`.

Counters and histograms of all workers of a host are added by prometheus_client, through files in the folder that
`PROMETHEUS_MULTIPROC_DIR` names; `gunicorn_settings.py` makes it before any worker begins. No label is a device, an
address or anything else that a request could choose: labels are routes, statuses, kinds and populations, all of closed
sets.
"""

import os
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

FILES_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus_client when it is imported: a process that is to share its values has it set from its start."""

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
FLUSH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
FLUSH_UPDATES = (1, 2, 4, 8, 16, 32, 64, 128)

_registry = CollectorRegistry()

_requests = Histogram(
    "keychorus_request_seconds",
    "Requests by route and status, from the complete head to the answer's last byte.",
    ("method", "route", "status"),
    registry=_registry,
    buckets=REQUEST_SECONDS,
)
_refusals = Counter("keychorus_refusals", "Requests refused, by kind.", ("kind",), registry=_registry)
_reports = Counter("keychorus_reports_accepted", "Reports acknowledged.", ("population",), registry=_registry)
_report_bytes = Counter("keychorus_report_bytes", "Bytes of reports acknowledged.", ("population",), registry=_registry)
_groups = Counter(
    "keychorus_secure_groups",
    "Groups of secure aggregation that ended: done, or why they failed.",
    ("population", "outcome"),
    registry=_registry,
)
_suspects = Counter(
    "keychorus_secure_suspects",
    "Members of groups whose shares were found wrong while a sum was unmasked.",
    ("population",),
    registry=_registry,
)
_flush_updates = Histogram(
    "keychorus_flush_updates", "Updates that one commit acknowledged.", registry=_registry, buckets=FLUSH_UPDATES
)
_flush_seconds = Histogram(
    "keychorus_flush_seconds", "Sealing and committing one group.", registry=_registry, buckets=FLUSH_SECONDS
)
# Of the processes alive: how many lead (over all hosts the sum must be 1), and when one last did its duty.
_leader = Gauge(
    "keychorus_coordinator_leader",
    "Whether a process of this host coordinates the rounds.",
    registry=_registry,
    multiprocess_mode="livesum",
)
_tick = Gauge(
    "keychorus_coordinator_tick_timestamp_seconds",
    "When a process of this host that coordinates last went through all populations.",
    registry=_registry,
    multiprocess_mode="livemax",
)
_database_up = Gauge(
    "keychorus_database_up", "Whether the database answered.", registry=_registry, multiprocess_mode="mostrecent"
)


def request_served(method: str, route: str, status: int, seconds: float) -> None:
    """Counts a request; `route` is a template such as `/v1/files/<sha256>`, never an address with its ids."""
    _requests.labels(method, route, str(status)).observe(seconds)


def refused(kind: str) -> None:
    """Counts a refusal by its `RefusalKind`."""
    _refusals.labels(kind).inc()


def report_accepted(population: str, num_bytes: int) -> None:
    """Counts a report once it is committed and acknowledged."""
    reports_accepted(population, 1, num_bytes)


def reports_accepted(population: str, count: int, num_bytes: int) -> None:
    """Counts the reports of a group of secure aggregation once its sum is committed; `num_bytes` of all together."""
    _reports.labels(population).inc(count)
    _report_bytes.labels(population).inc(num_bytes)


def group_ended(population: str, outcome: str) -> None:
    """Counts a group of secure aggregation: `done`, or the `GroupFailure`."""
    _groups.labels(population, outcome).inc()


def suspects_found(population: str, count: int) -> None:
    """Counts members whose shares were found wrong."""
    _suspects.labels(population).inc(count)


def flushed(num_updates: int, seconds: float) -> None:
    """Notes one group commit of `num_updates` >= 1 updates that took `seconds`."""
    _flush_updates.observe(num_updates)
    _flush_seconds.observe(seconds)


def coordinator_looked(*, is_leader: bool) -> None:
    """Notes that this process's coordinator thread went round once: it leads, or found that another does."""
    _leader.set(is_leader)
    if is_leader:  # who only waits for the lock would hide that its holder stands still
        _tick.set(time.time())  # the machine's time, also in a rehearsal: Prometheus compares it with its own


def database_answered(*, is_up: bool) -> None:
    """Notes whether the database could be read just now."""
    _database_up.set(is_up)


def process_registry() -> CollectorRegistry:
    """What this host's workers counted: their files if there are several, else this process's own values."""
    if not os.environ.get(FILES_VARIABLE):
        return _registry
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
