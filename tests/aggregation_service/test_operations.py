from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from aggregation_service import audit, operations
from aggregation_service.app import create_app
from aggregation_service.config import ConfigError
from aggregation_service.operations import OperationError
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.database import OutdatedDatabase
from protocol import routes
from protocol.errors import MalformedMessage, WrongContent
from protocol.manifest import SignedManifest, check_content, decode_public_key, open_manifest
from protocol.plan import Plan

POPULATION = "en-gb"


def test_a_service_is_made_once_and_keeps_its_key(tmp_path: Path) -> None:
    paths = operations.initialise(tmp_path / "new" / "service")
    assert paths.config_path.parent.stat().st_mode & 0o777 == 0o700
    assert paths.signing_key_path.stat().st_mode & 0o777 == 0o600
    key = paths.signing_key_path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        operations.initialise(tmp_path / "new" / "service")
    assert paths.signing_key_path.read_bytes() == key


def test_without_key_or_tables_no_service_starts(rehearsal: Any) -> None:
    with rehearsal.service.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(OutdatedDatabase):
        create_app(rehearsal.config)
    rehearsal.config.signing_key_path.unlink()
    with pytest.raises(ConfigError, match="keychorus service init"):
        create_app(rehearsal.config)


def test_the_audit_log_tells_of_another_delta_at_the_next_start(rehearsal: Any) -> None:
    for delta in (1e-10, 1e-10, 1e-9, 1e-9, 1e-10):
        operations.prepare_database(replace(rehearsal.config, privacy_delta=delta), "cli:ada")
    with rehearsal.service.database.read() as connection:
        told = [one for one in audit.list_entries(connection) if one.action == "privacy_delta.set"]
    assert [one.details["privacy_delta"] for one in reversed(told)] == [1e-10, 1e-9, 1e-10]
    assert {one.actor for one in told} == {"cli:ada"}


@pytest.mark.parametrize("name", ["", "EN", "en_gb", "-en", "e" * 64, "en/gb"])
def test_population_names_are_those_of_the_protocol(rehearsal: Any, name: str) -> None:
    with pytest.raises(OperationError, match="a population's name must be"):
        operations.add_population(rehearsal.config, name)


def test_a_population_is_added_once(rehearsal: Any) -> None:
    with pytest.raises(OperationError, match="exists already"):
        operations.add_population(rehearsal.config, POPULATION)


def test_a_task_goes_on_from_the_newest_weights(rehearsal: Any, plan: Plan) -> None:
    weights = rehearsal.create_task(plan)
    version = operations.create_task(
        rehearsal.config,
        population=POPULATION,
        plan=plan,
        training_graph=b"another graph",
        checkpoint=None,
        parameters=RoundParameters(minimum_reports=1),
        optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
    )
    found_version, found = operations.current_checkpoint(rehearsal.config, POPULATION)
    assert (version, found_version) == (0, 0)
    assert all((found[name] == weights[name]).all() for name in weights)


def test_wrong_tasks_are_refused_and_leave_no_trace(rehearsal: Any, plans: Any, plan: Plan) -> None:
    with pytest.raises(OperationError, match="minimum_reports must be <= report_goal 3, got 4"):
        rehearsal.create_task(plan, minimum_reports=4)
    with pytest.raises(ValueError, match="server_momentum"):
        rehearsal.create_task(plan, momentum=1.0)
    with pytest.raises(MalformedMessage, match="noise_multiplier"):
        rehearsal.create_task(plans(noise=-1.0))
    with pytest.raises(OperationError, match="no task yet"):
        operations.current_checkpoint(rehearsal.config, POPULATION)


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan"])
def test_weights_that_do_not_fit_are_refused(rehearsal: Any, plan: Plan, spoil: str) -> None:
    weights = {spec.name: np.zeros(spec.shape, np.float32) for spec in plan.tensors}
    if spoil == "missing":
        del weights["bias"]
    else:
        weights["bias"] = np.zeros(5, np.float32) if spoil == "shape" else np.full(4, np.nan, np.float32)
    with pytest.raises(WrongContent):
        operations.create_task(
            rehearsal.config,
            population=POPULATION,
            plan=plan,
            training_graph=b"graph",
            checkpoint=weights,
            parameters=RoundParameters(minimum_reports=1),
            optimizer=ServerMomentum(momentum=0.0, learning_rate=1.0),
        )


def test_a_vocabulary_is_named_in_the_manifest_and_served(rehearsal: Any, plan: Plan) -> None:
    weights = rehearsal.create_task(plan)

    def give(vocabulary: bytes) -> None:
        operations.create_task(
            rehearsal.config,
            population=POPULATION,
            plan=plan,
            training_graph=b"graph",
            checkpoint=weights,
            parameters=RoundParameters(minimum_reports=1),
            optimizer=ServerMomentum(momentum=0.0, learning_rate=1.0),
            vocabulary=vocabulary,
        )

    with pytest.raises(OperationError, match="file vocabulary must have 1 to 67108864 bytes, got 0"):
        give(b"")
    give(b"opaque words")
    key = decode_public_key(operations.public_key(rehearsal.config))
    manifest = open_manifest(rehearsal.select().manifest, key, purpose="round", population=POPULATION)
    assert set(manifest.files) == {"plan", "training_graph", "checkpoint", "checkpoint_base", "vocabulary"}
    entry = manifest.files["vocabulary"]
    response = rehearsal.request("GET", routes.file(entry.sha256))
    assert check_content(response.data, entry) == b"opaque words"


def test_the_newest_version_is_told_without_weights(rehearsal: Any, plans: Any) -> None:
    with pytest.raises(OperationError, match="no weights"):
        operations.current_version(rehearsal.config, POPULATION)
    rehearsal.create_task(plans(goal=1))
    assert operations.current_version(rehearsal.config, POPULATION) == 0
    rehearsal.report(rehearsal.select(), rehearsal.update())
    assert operations.current_version(rehearsal.config, POPULATION) == 1


@pytest.mark.parametrize("version", [-1, 1, 2**63])
def test_only_a_model_version_that_exists_is_released(rehearsal: Any, plan: Plan, version: int) -> None:
    files = {"model": b"1"}
    with pytest.raises(OperationError, match="has no model versions yet"):
        operations.publish_release(rehearsal.config, population=POPULATION, files=files, model_version=version)
    rehearsal.create_task(plan)
    with pytest.raises(OperationError, match=f"one of 0 to 0 that en-gb still has, got {version}"):
        operations.publish_release(rehearsal.config, population=POPULATION, files=files, model_version=version)
    made = operations.publish_release(rehearsal.config, population=POPULATION, files=files, model_version=0)
    assert made.model_version == 0


def test_a_release_is_signed_and_says_what_it_cost(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1, noise=2.0))
    rehearsal.report(rehearsal.select(), rehearsal.update())
    files = {"predictor.tflite": b"TFL3", "vocabulary.model": b"words"}
    operations.publish_release(rehearsal.config, population=POPULATION, files=files)
    response = rehearsal.request("GET", routes.release(POPULATION))
    signed = msgspec.json.decode(response.data, type=SignedManifest)
    key = decode_public_key(operations.public_key(rehearsal.config))
    manifest = open_manifest(signed, key, purpose="release", population=POPULATION, minimum_version=1)
    found = {
        name: check_content(rehearsal.request("GET", routes.file(entry.sha256)).data, entry)
        for name, entry in manifest.files.items()
    }
    statement = msgspec.json.decode(found.pop("privacy_statement"), type=PrivacyStatement)
    assert found == files
    assert statement == operations.privacy_statement(rehearsal.config, POPULATION)
    assert (statement.max_participations, statement.cohort_sizes) == (1, (1,))


def test_a_release_before_any_training_says_so(rehearsal: Any) -> None:
    manifest = operations.publish_release(rehearsal.config, population=POPULATION, files={"model": b"1"})
    assert (set(manifest.files), manifest.model_version) == ({"model", "privacy_statement"}, 0)
    content = rehearsal.request("GET", routes.file(manifest.files["privacy_statement"].sha256)).data
    statement = msgspec.json.decode(content, type=PrivacyStatement)
    assert (statement.epsilon, statement.max_participations) == (0, 0)
    assert statement.mechanism.startswith("none")
    with pytest.raises(ValueError, match="nothing was trained"):
        statement.at_scale(cohort=1, population=1, rounds=1, delta=1e-6)
    assert operations.privacy_statement(rehearsal.config, POPULATION) is None


@pytest.mark.parametrize("files", [{}, {"Upper": b"1"}, {"../up": b"1"}, {"empty": b""}, {"privacy_statement": b"1"}])
def test_releases_that_a_manifest_cannot_hold_are_refused(rehearsal: Any, files: dict[str, bytes]) -> None:
    with pytest.raises(OperationError):
        operations.publish_release(rehearsal.config, population=POPULATION, files=files)
    assert rehearsal.request("GET", routes.release(POPULATION)).status_code == 404


def test_unknown_populations_are_named_with_the_command_that_makes_them(rehearsal: Any) -> None:
    with pytest.raises(OperationError, match="population add nowhere"):
        operations.privacy_statement(rehearsal.config, "nowhere")
