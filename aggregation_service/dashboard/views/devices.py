"""Devices in numbers: by the runtime they named, and by the model version they were last selected for."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from aggregation_service.dashboard.views.rounds import CHARTED_ROUNDS
from aggregation_service.storage.tables import assignments, devices, participation, rounds

RECENTLY_S = 24 * 3600
_NAMED_VERSIONS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicesView:
    """How many devices there are.

    Attributes:
      seen: devices that ever checked in.
      seen_recently: those of them that did so within 24 h.
      enrolled: devices with a key.
      revoked: devices whose key was taken back.
      by_runtime: seen devices by the runtime that they named, most first.
      by_model_version: seen devices by the model version of their last selection, newest first, as far as the rounds
        that the page charts tell.

    """

    seen: int
    seen_recently: int
    enrolled: int
    revoked: int
    by_runtime: tuple[tuple[str, int], ...]
    by_model_version: tuple[tuple[str, int], ...]


def read_devices(connection: Connection, population: str, now: float) -> DevicesView:
    """Counts a population's devices."""
    of_population = participation.c.population == population
    keys = devices.c.population == population
    seen = _count(connection, of_population)
    return DevicesView(
        seen=seen,
        seen_recently=_count(connection, of_population, participation.c.last_seen_at >= now - RECENTLY_S),
        enrolled=_count(connection, keys, devices.c.revoked_at.is_(None)),
        revoked=_count(connection, keys, devices.c.revoked_at.is_not(None)),
        by_runtime=_by_runtime(connection, population),
        by_model_version=_fold(_by_model_version(connection, population), seen),
    )


def _count(connection: Connection, *conditions: object) -> int:
    return connection.scalar(select(func.count()).where(*conditions)) or 0  # type: ignore[arg-type]


def _by_runtime(connection: Connection, population: str) -> tuple[tuple[str, int], ...]:
    counted = select(participation.c.runtime, func.count()).where(participation.c.population == population)
    rows = connection.execute(counted.group_by(participation.c.runtime))
    return tuple(sorted(((name or "not told", count) for name, count in rows), key=lambda pair: (-pair[1], pair[0])))


def _by_model_version(connection: Connection, population: str) -> list[tuple[int, int]]:
    newest = select(func.max(rounds.c.number)).where(rounds.c.population == population).scalar_subquery()
    last = (
        select(assignments.c.device_id, func.max(rounds.c.number).label("number"))
        .join(rounds, rounds.c.id == assignments.c.round_id)
        .where(rounds.c.population == population, rounds.c.number > newest - CHARTED_ROUNDS)
        .group_by(assignments.c.device_id)
        .subquery()
    )
    counted = (
        select(rounds.c.model_version, func.count())
        .join(last, last.c.number == rounds.c.number)
        .where(rounds.c.population == population)
        .group_by(rounds.c.model_version)
        .order_by(rounds.c.model_version.desc())
    )
    return [(int(version), int(count)) for version, count in connection.execute(counted)]


def _fold(found: list[tuple[int, int]], seen: int) -> tuple[tuple[str, int], ...]:
    """The newest versions by name, what is older in one, and who was not selected."""
    named = [(f"version {version}", count) for version, count in found[:_NAMED_VERSIONS]]
    rest = [
        ("older", sum(count for _, count in found[_NAMED_VERSIONS:])),
        ("not selected lately", seen - sum(count for _, count in found)),
    ]
    return tuple(named + [(name, count) for name, count in rest if count > 0])
