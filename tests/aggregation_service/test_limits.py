from typing import Any

import pytest
from flask import Flask

from aggregation_service import limits, problems
from aggregation_service.config import ConfigError, ServiceConfig
from aggregation_service.refusals import RefusalKind, Refused
from protocol.messages import Problem, decode_message

BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, but where a test says `BOTH`: the others count in memory only."""
    kind: str = getattr(request, "param", "sqlite")
    return kind


@pytest.fixture
def serve(rehearsal: Any) -> Any:
    """Starts the service anew with other settings, and by the system's clock unless told otherwise."""

    def serve(*, real_time: bool = True, **settings: str | int) -> Flask:
        path = rehearsal.folder / "service.toml"
        dropped = {*settings, *(("clock_path",) if real_time else ())}
        lines = [line for line in path.read_text().splitlines() if line.partition(" ")[0] not in dropped]
        lines += [
            f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in settings.items()
        ]
        path.write_text("\n".join(lines))
        rehearsal.restart()
        app: Flask = rehearsal.apps[-1]
        return app

    return serve


def statuses(
    app: Flask, times: int, path: str = "/v1/files/x", address: str = "192.0.2.1", **headers: str
) -> list[int]:
    client = app.test_client()
    where = {"REMOTE_ADDR": address}
    return [client.get(path, environ_overrides=where, headers=headers).status_code for _ in range(times)]


def test_an_address_is_limited_and_told_when_to_come_back(serve: Any) -> None:
    app = serve(address_rate_limit="5/minute")
    assert statuses(app, 3) + statuses(app, 3, "/nowhere") == [404] * 5 + [429]
    answer = app.test_client().get("/nowhere", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    problem = decode_message(answer.data, Problem)
    assert (answer.content_type, problem.type) == (
        "application/problem+json",
        "urn:keychorus:problem:too_many_requests",
    )
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert statuses(app, 1, address="192.0.2.2") == [404]


@BOTH
def test_a_flood_does_not_reach_the_database(rehearsal: Any, serve: Any) -> None:
    app = serve(address_rate_limit="2/minute")
    statuses(app, 10)
    app.extensions[problems.TALLY].write()
    with rehearsal.service.database.read() as connection:
        counted = connection.exec_driver_sql("SELECT kind, count FROM refusals").all()
    assert [tuple(row) for row in counted] == [("unknown_file", 2)]


def test_a_line_of_ipv6_is_one_address(serve: Any) -> None:
    app = serve(address_rate_limit="2/minute")
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3:4:5:6", "2001:db8:0:1::1"]
    assert [statuses(app, 1, address=address)[0] for address in addresses] == [404, 404, 429, 404]


def test_health_is_never_refused(serve: Any) -> None:
    app = serve(address_rate_limit="2/minute")
    assert statuses(app, 10, "/health") == [200] * 10
    assert statuses(app, 3) == [404, 404, 429]


def test_unlimited_is(serve: Any) -> None:
    assert set(statuses(serve(address_rate_limit="unlimited"), 50)) == {404}


def test_a_rehearsal_is_not_limited_for_its_time_runs_faster(serve: Any) -> None:
    assert set(statuses(serve(address_rate_limit="2/minute", real_time=False), 10)) == {404}


def test_an_address_is_believed_only_from_as_many_proxies_as_there_are(serve: Any) -> None:
    app = serve(address_rate_limit="1/minute")
    assert [statuses(app, 1, **{"X-Forwarded-For": f"192.0.2.{n}"})[0] for n in range(2)] == [404, 429]
    app = serve(address_rate_limit="1/minute", trusted_proxies=1)
    assert [statuses(app, 1, **{"X-Forwarded-For": f"192.0.2.{n}"})[0] for n in range(2)] == [404, 404]
    assert [statuses(app, 1, **{"X-Forwarded-For": f"198.51.100.{n}, 192.0.2.9"})[0] for n in range(2)] == [404, 429]


def test_a_device_is_limited_wherever_it_is(serve: Any) -> None:
    app = serve(device_rate_limit="3/minute")
    for number in range(3):
        with app.test_request_context(environ_overrides={"REMOTE_ADDR": f"192.0.2.{number}"}):
            limits.limit_device("en-gb", "a" * 32)
    with app.test_request_context(environ_overrides={"REMOTE_ADDR": "192.0.2.9"}):
        with pytest.raises(Refused) as caught:
            limits.limit_device("en-gb", "a" * 32)
        limits.limit_device("en-gb", "b" * 32)
        limits.limit_device("en-us", "a" * 32)  # which anybody could have enrolled there
    assert caught.value.kind is RefusalKind.TOO_MANY_REQUESTS
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60


def test_several_rates_hold_together(serve: Any) -> None:
    app = serve(device_rate_limit="100/second;2/hour")
    with app.test_request_context():
        limits.limit_device("en-gb", "a")
        limits.limit_device("en-gb", "a")
        with pytest.raises(Refused) as caught:
            limits.limit_device("en-gb", "a")
    assert 60 < int(caught.value.headers["Retry-After"]) <= 3600


@pytest.mark.parametrize("address_rate_limit", ["unlimited", "100/minute"])
def test_without_its_storage_each_process_counts_for_itself(
    serve: Any, monkeypatch: pytest.MonkeyPatch, address_rate_limit: str
) -> None:
    app = serve(address_rate_limit=address_rate_limit, device_rate_limit="2/minute", login_rate_limit="2/minute")
    storage = app.extensions["keychorus.limiter"].storage

    def unreachable(*_arguments: object, **_named: object) -> None:
        raise ConnectionRefusedError

    class Unreachable(type(storage)):  # type: ignore[misc]
        """As Redis' storage is when nobody listens: a subclass, for `limits` wraps errors of classes."""

        base_exceptions = OSError
        incr = get = get_expiry = unreachable

        def check(self) -> bool:
            return False

    monkeypatch.setattr(storage, "__class__", Unreachable)
    assert statuses(app, 3) == [404] * 3
    with app.test_request_context():
        for _ in range(2):
            limits.limit_device("en-gb", "a")
            limits.limit_login("ada")
            limits.count_failed_login("ada")
        for refused in (lambda: limits.limit_device("en-gb", "a"), lambda: limits.limit_login("ada")):
            with pytest.raises(Refused) as caught:
                refused()
            assert caught.value.kind is RefusalKind.TOO_MANY_REQUESTS


def test_a_storage_that_is_not_installed_is_told_in_a_sentence(rehearsal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.importlib.util, "find_spec", lambda name: None)
    config: ServiceConfig = rehearsal.config
    settings = {name: getattr(config, name) for name in ("database_url", "signing_key_path", "session_key_path")}
    with pytest.raises(ConfigError, match="redis:// needs the Python package redis"):
        limits.install(Flask("test"), ServiceConfig(**settings, rate_limit_storage="redis://localhost"))
