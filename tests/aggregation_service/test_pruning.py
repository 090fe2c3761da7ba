"""What is deleted, and that nothing is that anybody needs, on both databases."""

import secrets
from typing import Any

import pytest
from sqlalchemy import func, select, update

from aggregation_service import operations, pruning, served
from aggregation_service.operations import EvaluationSettings
from aggregation_service.policy import PopulationPolicy
from aggregation_service.pruning import DOWNLOADS_TAKE_S, old_versions, prune
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.database import Database
from aggregation_service.storage.files import find_content, put_file
from aggregation_service.storage.leadership import Deposed
from aggregation_service.storage.tables import checkpoints, files, releases, rounds
from protocol import routes
from protocol.errors import MalformedMessage
from protocol.manifest import FileEntry, decode_manifest

POPULATION = "en-gb"


def versions(rehearsal: Any) -> list[int]:
    with rehearsal.service.database.read() as connection:
        return list(connection.scalars(select(checkpoints.c.model_version).order_by(checkpoints.c.model_version)))


def count_files(rehearsal: Any) -> int:
    with rehearsal.service.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(files)) or 0


def tick(rehearsal: Any, after_s: float = DOWNLOADS_TAKE_S + 1) -> None:
    """The leader at work, as its thread would be, until there is nothing left to do."""
    rehearsal.wait(after_s)
    for _ in range(20):
        assert rehearsal.service.coordinator.tick()


def keep(rehearsal: Any, count: int | None) -> None:
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(keep_checkpoints=count))


def train(rehearsal: Any, num_rounds: int) -> None:
    for _ in range(num_rounds):
        rehearsal.report(rehearsal.select(), rehearsal.update())


def is_there(rehearsal: Any, entry: FileEntry) -> bool:
    response = rehearsal.request("GET", routes.file(entry.sha256))
    return response.status_code == 200 and FileEntry.of(response.data) == entry


def names(rehearsal: Any) -> dict[str, FileEntry]:
    """The files of a round that opens now."""
    return decode_manifest(rehearsal.select().manifest.manifest).files


@pytest.fixture
def trained(rehearsal: Any, plans: Any) -> Any:
    """Versions 0 to 6, of which 0 is the base."""
    rehearsal.create_task(plans(goal=1))
    train(rehearsal, 6)
    return rehearsal


def test_the_newest_are_kept_and_their_base(trained: Any) -> None:
    before = trained.weights()
    tick(trained)
    assert versions(trained) == list(range(7))  # 64 are kept
    keep(trained, None)
    tick(trained)
    assert versions(trained) == list(range(7))
    keep(trained, 2)
    tick(trained)
    assert versions(trained) == [0, 5, 6]
    version, weights = trained.weights()
    assert (version, weights.tolist()) == (before[0], before[1].tolist())
    # Plan, graph; of three versions the exact and the served file; the open round's difference.
    assert count_files(trained) == 2 + 3 * 2 + 1
    assert all(is_there(trained, entry) for entry in names(trained).values())


def test_training_goes_on_as_if_nothing_had_been_deleted(trained: Any, plans: Any) -> None:
    keep(trained, 1)
    tick(trained)
    base = names(trained)["checkpoint_base"]
    trained.wait(10_000)
    trained.summary()
    train(trained, 2)
    tick(trained)
    assert versions(trained) == [0, 8]
    assert names(trained)["checkpoint_base"] == base
    trained.create_task(plans(goal=1))  # an operator's weights, a new base: version 9
    tick(trained)
    assert versions(trained) == [9]


def test_what_releases_and_a_running_evaluation_name_is_kept(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "RENEWED_EVERY", 2)  # even versions are bases
    for version, content in ((1, b"first"), (3, b"second")):
        operations.publish_release(
            trained.config, population=POPULATION, files={"model": content}, model_version=version
        )
    settings = EvaluationSettings(report_goal=1, minimum_reports=1)
    operations.create_evaluation(
        trained.config, population=POPULATION, candidate_version=5, baseline_version=3, settings=settings
    )
    keep(trained, 1)
    tick(trained)
    assert versions(trained) == [0, 1, 2, 3, 4, 5, 6]
    named = names(trained)
    assert all(is_there(trained, entry) for entry in named.values())
    assert {"checkpoint", "checkpoint_difference", "baseline_checkpoint"} <= set(named)
    operations.end_task(trained.config, POPULATION)
    tick(trained)
    assert versions(trained) == [0, 1, 2, 3, 6]
    manifests = [record.manifest.manifest for record in operations.list_releases(trained.config, POPULATION)]
    assert all(is_there(trained, entry) for each in manifests for entry in decode_manifest(each).files.values())
    operations.rollback_release(trained.config, population=POPULATION)
    with pytest.raises(operations.OperationError, match="one of 0 to 6 that en-gb still has, got 4"):
        operations.publish_release(trained.config, population=POPULATION, files={"model": b"x"}, model_version=4)


def test_a_device_may_finish_its_download_after_the_round(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    keep(rehearsal, 1)
    train(rehearsal, 1)
    named = names(rehearsal)
    rehearsal.wait(10_000)
    rehearsal.summary()  # that round is abandoned
    train(rehearsal, 2)  # the first of these from the same files
    tick(rehearsal, DOWNLOADS_TAKE_S - 1)
    assert versions(rehearsal) == [0, 3]
    assert all(is_there(rehearsal, entry) for entry in named.values())
    tick(rehearsal, 61)
    assert {name for name, entry in named.items() if not is_there(rehearsal, entry)} == {
        *("checkpoint", "checkpoint_difference")
    }


def test_other_populations_files_are_theirs(trained: Any, plans: Any) -> None:
    operations.add_population(trained.config, "de-at", PopulationPolicy(keep_checkpoints=1))
    plan = plans(goal=2)
    weights = {spec.name: trained.generator.normal(size=spec.shape).astype("float32") for spec in plan.tensors}
    operations.create_task(
        trained.config,
        population="de-at",
        plan=plan,
        training_graph=b"TFL3 of its own",
        vocabulary=b"words",
        checkpoint=weights,
        parameters=RoundParameters(minimum_reports=1),
        optimizer=ServerAverage(),
    )
    keep(trained, 1)
    tick(trained)
    with trained.service.database.read() as connection:
        for manifest in connection.scalars(select(rounds.c.manifest).where(rounds.c.population == "de-at")):
            assert all(is_there(trained, entry) for entry in decode_manifest(manifest).files.values())


def test_much_is_deleted_little_by_little(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    keep(trained, 1)
    trained.wait(DOWNLOADS_TAKE_S + 1)
    left = []
    for _ in range(3):
        trained.service.coordinator.tick()
        left.append(len(versions(trained)))
    assert left == [5, 3, 2]
    tick(trained, 0)
    assert count_files(trained) == 2 + 2 * 2 + 1


def test_a_manifest_that_cannot_be_read_stops_the_deletion_and_no_round(trained: Any) -> None:
    operations.publish_release(trained.config, population=POPULATION, files={"model": b"first"})
    with trained.service.database.write() as connection:
        put_file(connection, b"nobody's")
        connection.execute(update(releases).values(manifest=b"of another age"))
    before = count_files(trained)
    with pytest.raises(MalformedMessage):
        prune(trained.service.database, lambda connection: None, trained.now)
    tick(trained)
    assert count_files(trained) == before
    train(trained, 1)


def test_a_deposed_leader_deletes_nothing(trained: Any) -> None:
    def fence(_connection: object) -> None:
        raise Deposed("another leads")

    keep(trained, 1)
    before = count_files(trained)
    with pytest.raises(Deposed):
        prune(trained.service.database, fence, trained.now + 10_000)
    assert (versions(trained), count_files(trained)) == (list(range(7)), before)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_who_stores_a_file_while_it_is_pruned_has_it(rehearsal: Any) -> None:
    """A file that nothing names is named by a transaction that has not committed when the leader looks."""
    first, second = secrets.token_bytes(100), secrets.token_bytes(100)
    database = rehearsal.service.database
    with database.write() as connection:
        entries = [put_file(connection, content) for content in (first, second)]
    other = Database(rehearsal.config.database_url)
    try:
        with other.write() as naming:
            put_file(naming, first)
            assert prune(database, lambda connection: None, rehearsal.now)
            assert find_content(naming, entries[0].sha256) == first
        with database.read() as connection:
            assert [find_content(connection, entry.sha256) for entry in entries] == [first, None]
    finally:
        other.close()


def test_what_needs_nothing_deleted_is_not_written(trained: Any) -> None:
    def fence(_connection: object) -> None:
        pytest.fail("there was nothing to write")

    tick(trained)
    assert not prune(trained.service.database, fence, trained.now)
    with trained.service.database.read() as connection:
        assert old_versions(connection, POPULATION) == []
