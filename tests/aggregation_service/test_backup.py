import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from postgres import PostgresServer

from aggregation_service import audit
from aggregation_service.app import create_app
from aggregation_service.backup import BackupError, backup, read_manifest, restore
from aggregation_service.cli import service
from aggregation_service.config import load_config
from aggregation_service.operations import public_key
from aggregation_service.privacy.ledger import CorrelatedSumReleased
from aggregation_service.privacy.mechanisms.parameters import BufferedToeplitz
from aggregation_service.storage import books
from aggregation_service.storage.database import parse_url
from aggregation_service.storage.dumps import DumpError
from protocol.plan import Plan

POPULATION = "en-gb"


@pytest.fixture
def programs(request: pytest.FixtureRequest, database_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own, where they are needed."""
    if database_kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgresql")
        monkeypatch.setenv("PATH", str(server.programs))


@pytest.fixture
def target(request: pytest.FixtureRequest, database_kind: str, programs: None) -> Iterator[str | None]:
    """Where a backup of this kind is restored to: None for a file in the new folder."""
    if database_kind == "sqlite":
        yield None
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    url = server.create_database(empty=True)
    yield url
    server.drop_database(url)


def train(rehearsal: Any, rounds: int, goal: int = 2) -> None:
    for _ in range(rounds):
        for selected in [rehearsal.select() for _ in range(goal)]:
            rehearsal.report(selected, rehearsal.update())


def opened(rehearsal: Any, folder: Path) -> Any:
    """The restored service, running."""
    restored = type(rehearsal)(folder, now=rehearsal.now)
    restored.restart()
    return restored


def ledger(rehearsal: Any) -> list[Any]:
    with rehearsal.service.database.read() as connection:
        return list(books.list_events(connection, POPULATION))


def test_a_restored_service_starts_where_the_backup_was_made(
    rehearsal: Any, plans: Any, target: str | None, tmp_path: Path
) -> None:
    rehearsal.create_task(plans(goal=2, noise=0.5), momentum=0.9, over_selection=1.0)
    train(rehearsal, 2)
    manifest = backup(rehearsal.config, tmp_path / "backup")
    saved = (rehearsal.weights(), ledger(rehearsal), rehearsal.summary())
    train(rehearsal, 1)
    made = restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=target)
    restored = opened(rehearsal, tmp_path / "again")
    version, weights = restored.weights()
    assert (version, ledger(restored)) == (saved[0][0], saved[1])
    np.testing.assert_array_equal(weights, saved[0][1])
    assert restored.summary() == saved[2]
    assert public_key(restored.config) == public_key(rehearsal.config)
    assert (made.created_at, made.charged) == (manifest.created_at, ())
    assert manifest.created_at == rehearsal.now
    with restored.service.database.read() as connection:
        audit.verify(connection)
        assert audit.list_entries(connection)[0].action == "service.restored"
    restored.service.close()


def test_what_the_books_do_not_know_is_charged(rehearsal: Any, plans: Any, target: str | None, tmp_path: Path) -> None:
    rehearsal.create_task(plans(goal=2, noise=0.5), over_selection=1.0)
    train(rehearsal, 1)
    backup(rehearsal.config, tmp_path / "backup")
    train(rehearsal, 3)
    made = restore(tmp_path / "backup", tmp_path / "again", lost_rounds=3, database_url=target)
    assert made.charged == (POPULATION,)
    restored = opened(rehearsal, tmp_path / "again")
    assert restored.summary()["epsilon"] > rehearsal.summary()["epsilon"]
    assert restored.weights()[0] > rehearsal.weights()[0]
    train(restored, 1)
    summary = restored.summary()
    before, after = (entry["epsilon"] for entry in summary["rounds"])
    assert before < after == summary["epsilon"]
    restored.service.close()


@pytest.mark.parametrize("lost_rounds", [0, 2])
def test_a_stream_goes_on_where_nothing_was_lost_and_begins_anew_elsewhere(
    rehearsal: Any, plans: Any, target: str | None, tmp_path: Path, lost_rounds: int
) -> None:
    mechanism = BufferedToeplitz(decays=(0.9,), scales=(0.5,))
    rehearsal.create_task(plans(goal=2, noise=2.0), over_selection=1.0, mechanism=mechanism)
    train(rehearsal, 2)
    backup(rehearsal.config, tmp_path / "backup")
    train(rehearsal, lost_rounds)
    restore(tmp_path / "backup", tmp_path / "again", lost_rounds=lost_rounds, database_url=target)
    restored = opened(rehearsal, tmp_path / "again")
    train(restored, 2)
    steps = [event.step for event in ledger(restored) if isinstance(event, CorrelatedSumReleased)]
    assert steps == ([0, 1, 0, 1] if lost_rounds else [0, 1, 2, 3])
    summary = restored.summary()
    assert [entry["phase"] for entry in summary["rounds"]] == ["closed"] * 4
    assert rehearsal.summary()["epsilon"] < summary["epsilon"] < math.inf
    restored.service.close()


def test_rounds_that_were_open_are_abandoned(rehearsal: Any, plan: Plan, target: str | None, tmp_path: Path) -> None:
    rehearsal.create_task(plan)
    rehearsal.report(rehearsal.select(), rehearsal.update())
    backup(rehearsal.config, tmp_path / "backup")
    made = restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=target)
    restored = opened(rehearsal, tmp_path / "again")
    (entry,) = restored.summary()["rounds"]
    assert made.abandoned == (entry["id"],)
    assert (entry["phase"], entry["abandoned_because"]) == ("abandoned", "key_lost")
    assert rehearsal.summary()["rounds"][0]["phase"] != "abandoned"
    restored.service.close()


@pytest.mark.usefixtures("programs")
def test_a_backup_is_taken_while_devices_train(rehearsal: Any, plans: Any, target: str | None, tmp_path: Path) -> None:
    """Whatever the moment: a ledger entry for each model version but the first, and a model version for each."""
    rehearsal.create_task(plans(goal=2, noise=0.5), over_selection=1.0)
    train(rehearsal, 1)
    stop, failed = threading.Event(), []

    def keep_training() -> None:
        while not stop.is_set():
            try:
                train(rehearsal, 1)
            except Exception as error:  # told by the test's own thread
                failed.append(error)
                return

    writer = threading.Thread(target=keep_training)
    writer.start()
    backup(rehearsal.config, tmp_path / "backup")
    stop.set()
    writer.join()
    assert failed == []
    restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=target)
    restored = opened(rehearsal, tmp_path / "again")
    closed = [entry for entry in restored.summary()["rounds"] if entry["phase"] == "closed"]
    assert 1 <= len(closed) == restored.weights()[0] <= len(ledger(restored)) <= len(closed) + 1
    restored.service.close()


@pytest.mark.usefixtures("programs")
def test_only_the_owner_can_read_a_backup_and_what_is_made_of_it(
    rehearsal: Any, target: str | None, tmp_path: Path
) -> None:
    backup(rehearsal.config, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=target)
    for folder in (tmp_path / "backup", tmp_path / "again"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.usefixtures("programs")
def test_a_damaged_backup_is_refused_and_nothing_is_made(rehearsal: Any, target: str | None, tmp_path: Path) -> None:
    manifest = backup(rehearsal.config, tmp_path / "backup")
    for name in manifest.files:
        path = tmp_path / "backup" / name
        content = path.read_bytes()
        for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
            path.write_bytes(damaged)
            with pytest.raises(BackupError, match=f"{name} is missing or damaged"):
                restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=target)
        path.write_bytes(content)
    assert read_manifest(tmp_path / "backup") == manifest
    assert not (tmp_path / "again").exists()


@pytest.mark.usefixtures("programs")
def test_the_audit_log_tells_of_a_backup_also_of_one_that_failed_after_the_keys_were_copied(
    rehearsal: Any, programs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("aggregation_service.backup.dump", Mock(side_effect=DumpError("the disk is full")))
        with pytest.raises(DumpError):
            backup(rehearsal.config, tmp_path / "first", actor="cli:ada")
    assert (tmp_path / "first" / "signing.key").exists()
    backup(rehearsal.config, tmp_path / "second", actor="cli:ada")
    with rehearsal.service.database.read() as connection:
        told = [one for one in audit.list_entries(connection) if one.action == "service.backed_up"]
        audit.verify(connection)
    assert {one.actor for one in told} == {"cli:ada"}
    assert [one.details["folder"] for one in told] == [str(tmp_path / "second"), str(tmp_path / "first")]


def test_nothing_is_overwritten(rehearsal: Any, tmp_path: Path, target: str | None) -> None:
    backup(rehearsal.config, tmp_path / "backup")
    with pytest.raises(BackupError, match="never overwritten"):
        backup(rehearsal.config, tmp_path / "backup")
    with pytest.raises(BackupError, match="exists already"):
        restore(tmp_path / "backup", rehearsal.folder, lost_rounds=0, database_url=target)
    with pytest.raises(DumpError, match="never overwritten"):
        restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=rehearsal.config.database_url)
    assert not (tmp_path / "again" / "service.toml").exists()


class TestOnSqlite:
    """What does not depend on the database."""

    @pytest.fixture
    def database_kind(self) -> str:
        return "sqlite"

    @pytest.mark.parametrize(
        ("content", "message"),
        [(None, "is no backup"), (b"{", "is damaged"), (b"{}", "is damaged")],
    )
    def test_a_folder_without_manifest_is_no_backup(self, tmp_path: Path, content: bytes | None, message: str) -> None:
        if content is not None:
            (tmp_path / "manifest.json").write_bytes(content)
        with pytest.raises(BackupError, match=message):
            read_manifest(tmp_path)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"revision": "9999"}, "made by a newer version"),
            ({"files": {}}, "names no configuration or no database"),
            ({"files": {"../secret": {"sha256": "0" * 64, "size_bytes": 1}}}, "is damaged"),
        ],
    )
    def test_a_manifest_is_not_believed_everything(
        self, rehearsal: Any, tmp_path: Path, changed: dict[str, Any], message: str
    ) -> None:
        backup(rehearsal.config, tmp_path / "backup")
        path = tmp_path / "backup" / "manifest.json"
        path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **changed}))
        with pytest.raises(BackupError, match=message):
            restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0)

    def test_rounds_are_counted_from_zero(self, tmp_path: Path) -> None:
        with pytest.raises(BackupError, match="lost_rounds must be >= 0, got -1"):
            restore(tmp_path / "backup", tmp_path / "again", lost_rounds=-1)

    def test_a_service_grows_from_sqlite_to_postgresql(
        self, rehearsal: Any, plans: Any, postgresql: PostgresServer, tmp_path: Path
    ) -> None:
        rehearsal.create_task(plans(goal=2, noise=0.5), momentum=0.9, over_selection=1.0)
        train(rehearsal, 2)
        backup(rehearsal.config, tmp_path / "backup")
        url = postgresql.create_database(empty=True)
        restore(tmp_path / "backup", tmp_path / "again", lost_rounds=0, database_url=url)
        grown = opened(rehearsal, tmp_path / "again")
        assert grown.config.database_url == url
        assert (grown.summary(), ledger(grown)) == (rehearsal.summary(), ledger(rehearsal))
        np.testing.assert_array_equal(grown.weights()[1], rehearsal.weights()[1])
        backup_of_grown = tmp_path / "backup of grown"
        grown.create_task(plans(goal=2))  # whose id must be a new one
        grown.service.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(postgresql.programs))
            backup(grown.config, backup_of_grown)
        with pytest.raises(BackupError, match="no way to SQLite"):
            restore(backup_of_grown, tmp_path / "back", lost_rounds=0, database_url=f"sqlite:///{tmp_path}/back.sqlite")
        with pytest.raises(DumpError, match="never overwritten"):
            restore(tmp_path / "backup", tmp_path / "twice", lost_rounds=0, database_url=url)
        postgresql.drop_database(url)

    def test_the_commands_say_what_is_lost(self, rehearsal: Any, plans: Any, tmp_path: Path) -> None:
        rehearsal.create_task(plans(goal=2, noise=0.5), over_selection=1.0)
        train(rehearsal, 1)
        config = ["--config", str(rehearsal.folder / "service.toml")]
        run = CliRunner().invoke
        made = run(service, ["backup", str(tmp_path / "backup"), *config])
        assert (made.exit_code, made.stdout.startswith("backed up to ")) == (0, True)
        again = run(service, ["backup", str(tmp_path / "backup"), *config])
        assert (again.exit_code, "never overwritten" in again.stderr) == (1, True)
        arguments = ["restore", str(tmp_path / "backup"), str(tmp_path / "again")]
        assert "--add-lost-rounds" in run(service, arguments).stderr
        restored = run(service, [*arguments, "--add-lost-rounds", "5"])
        assert restored.exit_code == 0
        for part in ("2023-11-14", "5 lost rounds charged to: en-gb", "devices revoked", "Never start the old service"):
            assert part in restored.stdout
        config_of_copy = load_config(tmp_path / "again" / "service.toml")
        assert Path(str(parse_url(config_of_copy.database_url).database)) == tmp_path / "again" / "service.sqlite"
        create_app(config_of_copy).extensions["keychorus"].close()
