"""From every revision, with rows in every table, to the newest: nothing is lost, and today's code reads it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import MetaData, func, inspect, select

from aggregation_service.privacy.ledger import GaussianSumReleased, encode_event
from aggregation_service.privacy.ledger_chain import GENESIS, check_chain, row_hash
from aggregation_service.privacy.mechanisms.parameters import Independent
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.rounds.state import AbandonReason, Phase
from aggregation_service.storage import books, models, rounds
from aggregation_service.storage.database import Database, check_is_current, known_revisions, newest_revision, upgrade
from aggregation_service.storage.discoveries import insert_words, list_words
from aggregation_service.storage.tables import metadata
from protocol.discovery.advancing import Discovered
from protocol.manifest import FileEntry, Manifest, SignedManifest, open_manifest, sign_manifest
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters, encode_plan

Rows = dict[str, list[dict[str, Any]]]

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PLAN = Plan(
    tensors=(TensorSpec(name="bias", shape=(4,)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.5, report_goal=3, minimum_separation_s=60.0),
)
PARAMETERS = RoundParameters(minimum_reports=2)
EVENT = GaussianSumReleased(
    round_id="1" * 32, model_version=0, num_reports=3, max_participations=1, noise_multiplier=0.5, l2_clip_norm=1.0
)
FILES = {"plan": encode_plan(PLAN), "graph": b"TFL3", "words": b"the", "first": bytes(16), "second": bytes([255] * 16)}
HASHES = {name: FileEntry.of(content).sha256 for name, content in FILES.items()}


def signed(purpose: Any, model_version: int) -> SignedManifest:
    files = {"checkpoint": FileEntry.of(FILES["second"])}
    manifest = Manifest(
        purpose=purpose, population="en-gb", model_version=model_version, created_at=1_700_000_000, files=files
    )
    return sign_manifest(manifest, KEY)


def rows_0001() -> Rows:
    """What a service of the first revision held after a closed, an abandoned and within an open round."""
    manifest = signed("round", 0)
    a_round = {
        "population": "en-gb",
        "task_id": 1,
        "model_version": 0,
        "abandoned_because": None,
        "ended_at": None,
        "manifest": manifest.manifest,
        "signature": manifest.signature,
        "opened_at": 10.5,
        "deadline_at": 99.5,
        "selected": 4,
        "reported": 3,
        "shortened": 1,
        "bytes_up": 2**40,
        "max_participations": 1,
    }
    release = signed("release", 1)
    return {
        "populations": [{"name": name, "created_at": 1.25} for name in ("de", "en-gb")],
        "files": [{"sha256": HASHES[name], "size_bytes": len(FILES[name]), "content": FILES[name]} for name in FILES],
        "tasks": [
            {
                "id": 1,
                "population": "en-gb",
                "plan_sha256": HASHES["plan"],
                "created_at": 2.5,
                "training_graph_sha256": HASHES["graph"],
                "vocabulary_sha256": HASHES["words"],
                "parameters": msgspec.json.encode(PARAMETERS).decode(),
                "server_momentum": 0.9,
                "server_learning_rate": 0.75,
            }
        ],
        "checkpoints": [
            {
                "population": "en-gb",
                "model_version": version,
                "file_sha256": HASHES[name],
                "velocity": velocity,
                "created_at": 3.5 + version,
            }
            for version, name, velocity in ((0, "first", None), (1, "second", b"\x01\x02\x03\x04" * 4))
        ],
        "rounds": [
            {**a_round, "id": "1" * 32, "number": 1, "phase": "closed", "ended_at": 20.5},
            {**a_round, "id": "2" * 32, "number": 2, "phase": "abandoned", "abandoned_because": "sum_lost"},
            {**a_round, "id": "3" * 32, "number": 3, "phase": "reporting", "reported": 1},
        ],
        "assignments": [
            {
                "id": f"{number}a" * 16,
                "round_id": f"{number}" * 32,
                "device_id": "d" * 32,
                "token_sha256": bytes([number] * 32),
                "reported": number == 1,
                "assigned_at": 11.5,
            }
            for number in (1, 2, 3)
        ],
        "participation": [
            {
                "population": "en-gb",
                "device_id": "d" * 32,
                "last_seen_at": 12.5,
                "last_selected_at": 11.5,
                "reported": 1,
            }
        ],
        "ledger": [
            {"id": 3, "population": "en-gb", "event": encode_event(EVENT), "recorded_at": 21.1},
            {"id": 5, "population": "de", "event": encode_event(EVENT), "recorded_at": 1e9 + 0.1},
        ],
        "releases": [
            {
                "id": 1,
                "population": "en-gb",
                "manifest": release.manifest,
                "signature": release.signature,
                "created_at": 22.5,
            }
        ],
        "refusals": [
            {"population": "", "kind": "unknown_population", "count": 2**40},
            {"population": "en-gb", "kind": "late_report", "count": 7},
        ],
    }


def rows_0002() -> Rows:
    """The same after that service grew: devices and operators came, a partial sum lies sealed."""
    rows = rows_0001()
    rows["populations"] = [{**row, "policy": "{}"} for row in rows["populations"]]
    (task,) = rows["tasks"]
    momentum, learning_rate = task.pop("server_momentum"), task.pop("server_learning_rate")
    optimizer = {"kind": "momentum", "learning_rate": learning_rate, "momentum": momentum}
    ended = {"candidate_version": None, "baseline_version": None, "ended_at": None, "ended_because": None}
    rows["tasks"] = [{**task, **ended, "kind": "training", "optimizer": json.dumps(optimizer)}]
    for checkpoint in rows["checkpoints"]:
        checkpoint.update(optimizer_state=checkpoint.pop("velocity"), served_sha256=checkpoint["file_sha256"])
    rows["rounds"] = [{**row, "sealing_key": bytes(32), "result": None} for row in rows["rounds"]]
    released = {"model_version": 1, "status": "released", "rollout_percent": 100, "decision": None}
    rows["releases"] = [{**row, **released} for row in rows["releases"]]
    rows["participation"] = [{**row, "runtime": "0.2.0"} for row in rows["participation"]]
    people = {"created_by": "grace", "created_at": 30.5}
    hashes = {"previous_sha256": "0" * 64, "sha256": "1" * 64}
    return {
        **rows,
        "partial_sums": [{"round_id": "3" * 32, "worker_id": "w" * 32, "num_updates": 1, "sealed": bytes(99)}],
        "coordinator": [{"id": 1, "epoch": 7, "holder": "host:1", "since": 31.5}],
        "devices": [
            {
                "population": "en-gb",
                "device_id": "d" * 32,
                "public_key": bytes(32),
                "enrolled_by": "token:1",
                "enrolled_at": 32.5,
                "revoked_at": None,
            }
        ],
        "nonces": [{"device_id": "d" * 32, "nonce": "e" * 32, "expires_at": 33.5}],
        "enrolment_tokens": [
            {"id": 1, "population": "de", "token_sha256": bytes(32), "uses_left": 3, "expires_at": 34.5, **people}
        ],
        "operators": [
            {"name": "grace", "password_hash": "$argon2", "role": "viewer", "created_at": 35.5, "disabled_at": None}
        ],
        "audit": [{"id": 1, "at": 36.5, "actor": "grace", "action": "a", "subject": "s", "details": "{}", **hashes}],
    }


def rows_0003() -> Rows:
    """The same after secure aggregation came: a group is at work in the open round."""
    rows = rows_0002()
    rows["partial_sums"] = [{**row, "part": 0} for row in rows["partial_sums"]]
    group = {"id": "9" * 32, "round_id": "3" * 32, "stage": "masked", "ends_at": 40.5, "content": bytes(7)}
    sets = {"sharers": b"\x01", "survivors": None, "revealers": None}
    counts = {"awaited": 2, "answered": 1, "members": 3, "shared": 3, "masked": 1, "confirmed": None, "unmasked": None}
    ended = {"failed_because": None, "detail": None, "formed_at": 39.5, "ended_at": None}
    member = {"assignment_id": "3a" * 16, "round_id": "3" * 32, "advertised_at": 38.5, "group_id": "9" * 32, "place": 0}
    return {
        **rows,
        "secure_groups": [group | sets | counts | ended],
        "secure_members": [member],
        "secure_messages": [{"assignment_id": "3a" * 16, "stage": "masked", "sha256": bytes(32), "content": None}],
        "masked_sums": [
            {"group_id": "9" * 32, "worker_id": "w" * 32, "part": 0, "members": b"\x01", "sealed": bytes(99)}
        ],
    }


def rows_0004() -> Rows:
    """The same after the ledger was chained."""
    rows = rows_0003()
    previous = GENESIS
    for row in rows["ledger"]:
        sha256 = row_hash(row["population"], row["event"], row["recorded_at"], previous)
        row.update(previous_sha256=previous, sha256=sha256)
        previous = sha256
    return rows


def rows_0005() -> Rows:
    """The same after noise could be correlated: a stream has made a step."""
    return {
        **rows_0004(),
        "noise_states": [{"task_id": 1, "part": 0, "step": 1, "sealed": bytes(99)}],
        "stream_participation": [
            {"task_id": 1, "device_id": "d" * 32, "participations": 1, "last_step": 0, "least_gap": None}
        ],
    }


def rows_0006() -> Rows:
    """The same after clipping could adapt, which that of these rounds did not."""
    rows = rows_0005()
    rows["rounds"] = [{**row, "l2_clip_norm": None} for row in rows["rounds"]]
    return {**rows, "clipping_states": [{"task_id": 1, "state": "{}"}]}


ROWS: dict[str, Callable[[], Rows]] = {
    "0001": rows_0001,
    "0002": rows_0002,
    "0003": rows_0003,
    "0004": rows_0004,
    "0005": rows_0005,
    "0006": rows_0006,
}
BECAME = {("checkpoints", "velocity"): "optimizer_state"}
"""Columns that only changed their name."""
MERGED = {("tasks", "server_momentum"), ("tasks", "server_learning_rate")}
"""Columns that went into others, as the tests below check."""
DROPPED = {("0002", "partial_sums")}
"""Tables whose rows nobody could read any more: the key that they were sealed to went when the service stopped."""


def fill(database: Database, revision: str) -> Rows:
    upgrade(database, revision)
    rows = ROWS[revision]()
    with database.write() as connection:
        tables = MetaData()
        tables.reflect(connection)
        assert {*rows, "alembic_version"} == set(tables.tables), "every table has rows"
        for table in tables.sorted_tables:
            if table.name in rows:
                connection.execute(table.insert(), rows[table.name])
    return rows


def test_every_revision_but_the_newest_is_tested_with_rows() -> None:
    assert set(ROWS) == known_revisions() - {newest_revision()}


@pytest.mark.parametrize("revision", ROWS)
def test_nothing_is_lost(empty_database: Database, revision: str) -> None:
    rows = fill(empty_database, revision)
    upgrade(empty_database)
    check_is_current(empty_database)
    with empty_database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for name, before in rows.items():
            if (revision, name) in DROPPED:
                continue
            table = metadata.tables[name]
            found = [dict(row._mapping) for row in connection.execute(select(table))]
            kept = [
                {BECAME.get((name, column), column): row[column] for column in row if (name, column) not in MERGED}
                for row in before
            ]
            shared = [{column: row[column] for column in kept[0]} for row in found]
            assert sorted(shared, key=repr) == sorted(kept, key=repr), name


@pytest.mark.parametrize("revision", ROWS)
def test_the_result_reads_as_if_written_today(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        assert models.list_populations(connection) == ["de", "en-gb"]
        task = models.newest_task(connection, "en-gb")
        assert task is not None
        assert (task.plan, task.parameters) == (PLAN, PARAMETERS)
        assert task.optimizer == ServerMomentum(momentum=0.9, learning_rate=0.75)
        checkpoint = models.newest_checkpoint(connection, "en-gb")
        assert checkpoint is not None
        assert (checkpoint.model_version, checkpoint.file_sha256) == (1, HASHES["second"])
        assert checkpoint.optimizer_state == b"\x01\x02\x03\x04" * 4
        records = rounds.list_rounds(connection, "en-gb")
        assert [record.state.phase for record in records] == [Phase.CLOSED, Phase.ABANDONED, Phase.REPORTING]
        assert records[1].state.abandoned_because is AbandonReason.SUM_LOST
        assert rounds.find_open_round(connection, "en-gb") == records[2]
        assert books.list_events(connection, "en-gb") == [EVENT]
        assert books.max_participations(connection, "en-gb") == 1
        assert books.list_refusals(connection, "en-gb") == {"late_report": 7}


@pytest.mark.parametrize("revision", ROWS)
def test_the_ledger_is_chained_in_its_order_and_goes_on(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        before = check_chain(books.ledger_rows(connection))
        assert before == books.ledger_head(connection)
        assert [row.id for row in books.ledger_rows(connection)] == [3, 5]
    if empty_database.engine.dialect.name == "postgresql":  # rows with ids of their own leave its counter behind
        with empty_database.write() as connection:
            connection.execute(select(func.setval(func.pg_get_serial_sequence("ledger", "id"), 5)))
    with empty_database.write() as connection:
        books.append_event(connection, "en-gb", EVENT, 50.5)
        check_chain(books.ledger_rows(connection), before)


@pytest.mark.parametrize("revision", ROWS)
def test_a_release_stays_signed_and_learns_its_version(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        row = connection.execute(select(metadata.tables["releases"])).one()
    release = SignedManifest(manifest=row.manifest, signature=row.signature)
    opened = open_manifest(release, KEY.public_key(), purpose="release", population="en-gb")
    assert (row.model_version, opened.model_version) == (1, 1)
    assert (row.status, row.rollout_percent, row.decision) == ("released", 100, None)


@pytest.mark.parametrize("revision", ROWS)
def test_a_population_still_has_one_open_round_at_most(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        names = {index["name"] for index in inspect(connection).get_indexes("rounds")}
        assert "one_open_round" in names
        keys = inspect(connection).get_foreign_keys("rounds")
    assert {key["referred_table"] for key in keys} == {"populations", "tasks"}


@pytest.mark.parametrize("revision", sorted(ROWS.keys() - {"0005", "0006"}))
def test_noise_was_fresh_until_there_were_streams(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        for name in ("noise_states", "stream_participation"):
            assert connection.execute(select(metadata.tables[name])).all() == []
        keys = inspect(connection).get_foreign_keys("noise_states")
        task = models.newest_task(connection, "en-gb")
    assert [key["referred_table"] for key in keys] == ["tasks"]
    assert task is not None
    assert task.parameters.mechanism == Independent()


@pytest.mark.parametrize("revision", sorted(ROWS.keys() - {"0006"}))
def test_rounds_had_the_norm_of_their_plan_until_clipping_adapted(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        assert connection.execute(select(metadata.tables["clipping_states"])).all() == []
        assert set(connection.scalars(select(metadata.tables["rounds"].c.l2_clip_norm))) == {None}
        records = rounds.list_rounds(connection, "en-gb")
    assert {record.task.plan.privacy.l2_clip_norm for record in records} == {PLAN.privacy.l2_clip_norm}


@pytest.mark.parametrize("revision", sorted(ROWS))
def test_nobody_asked_for_words_until_there_were_discoveries(empty_database: Database, revision: str) -> None:
    fill(empty_database, revision)
    upgrade(empty_database)
    with empty_database.read() as connection:
        for name, referred in (
            ("discovery_levels", {"files", "tasks"}),
            ("discovered_words", {"populations", "tasks"}),
        ):
            assert connection.execute(select(metadata.tables[name])).all() == []
            assert {key["referred_table"] for key in inspect(connection).get_foreign_keys(name)} == referred
    with empty_database.write() as connection:
        insert_words(connection, "en-gb", 1, [Discovered("zorble", 7.5)], 60.5)
        [found] = list_words(connection, "en-gb")
    assert (found.word, found.devices, found.status, found.decided_at) == ("zorble", 7.5, "found", None)
