"""What devices download of a model version, over a whole task's life."""

from typing import Any

import numpy as np
import pytest

from aggregation_service import served
from aggregation_service.served import base_version, served_files
from aggregation_service.storage import models
from protocol import routes
from protocol.checkpoints import apply_difference
from protocol.errors import WrongContent
from protocol.manifest import FileEntry, check_content, decode_manifest
from protocol.weights import decode_checkpoint, encode_checkpoint, flatten

POPULATION = "en-gb"


BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, but where a test says `BOTH`."""
    kind: str = getattr(request, "param", "sqlite")
    return kind


def files_of(rehearsal: Any) -> dict[str, FileEntry]:
    """What the next round's manifest names."""
    return decode_manifest(rehearsal.select().manifest.manifest).files


def fetch(rehearsal: Any, entry: FileEntry) -> bytes:
    return check_content(rehearsal.request("GET", routes.file(entry.sha256)).data, entry)


def train(rehearsal: Any, rounds: int = 1) -> None:
    for _ in range(rounds):
        rehearsal.report(rehearsal.select(), rehearsal.update())


@pytest.fixture
def trained(rehearsal: Any, plans: Any) -> Any:
    rehearsal.create_task(plans(goal=1))
    return rehearsal


def test_a_first_version_is_its_own_base_in_float16(trained: Any, plan: Any) -> None:
    files = files_of(trained)
    assert files["checkpoint"] == files["checkpoint_base"]
    assert "checkpoint_difference" not in files
    read = flatten(decode_checkpoint(fetch(trained, files["checkpoint"]), plan.tensors), plan.tensors)
    _, exact = trained.weights()
    np.testing.assert_array_equal(read, exact.astype(np.float16).astype(np.float32))


@BOTH
def test_later_versions_differ_from_it_and_whoever_holds_it_comes_to_the_same_bits(trained: Any, plan: Any) -> None:
    base = fetch(trained, files_of(trained)["checkpoint"])
    trained.wait(10_000)
    trained.summary()
    for _ in range(3):
        train(trained)
        files = files_of(trained)
        trained.wait(10_000)
        trained.summary()
        assert files["checkpoint_base"] == FileEntry.of(base)
        rebuilt = apply_difference(base, fetch(trained, files["checkpoint_difference"]))
        assert rebuilt == fetch(trained, files["checkpoint"])
        moved = flatten(decode_checkpoint(rebuilt, plan.tensors), plan.tensors)
        _, exact = trained.weights()
        start = flatten(decode_checkpoint(base, plan.tensors), plan.tensors)
        assert np.linalg.norm(moved - exact) < 0.01 * np.linalg.norm(exact - start)


def test_the_optimiser_goes_on_from_exact_weights(trained: Any) -> None:
    _, before = trained.weights()
    update = trained.update()
    trained.report(trained.select(), update)
    _, after = trained.weights()
    np.testing.assert_allclose(after, before + update, rtol=1e-6, atol=1e-7)


def test_the_base_is_renewed(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "RENEWED_EVERY", 2)
    train(trained, 4)
    with trained.service.database.read() as connection:
        assert [base_version(connection, POPULATION, version) for version in range(5)] == [0, 0, 2, 2, 4]


@BOTH
def test_an_operators_weights_are_a_base(trained: Any, plans: Any) -> None:
    train(trained, 2)
    trained.create_task(plans(goal=1))  # which brings weights of its own: version 3
    train(trained, 1)
    with trained.service.database.read() as connection:
        assert [base_version(connection, POPULATION, version) for version in range(5)] == [0, 0, 0, 3, 3]


def test_weights_beyond_float16_are_served_as_they_are(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    with rehearsal.service.database.write() as connection:
        far = {spec.name: np.full(spec.shape, 1e6, np.float32) for spec in plan.tensors}
        content = encode_checkpoint(far)
        models.add_checkpoint(connection, POPULATION, content=content, optimizer_state=None, now=0.0)
        newest = models.newest_checkpoint(connection, POPULATION)
        assert newest is not None
        assert served_files(connection, POPULATION, newest, plan.tensors) == {"checkpoint": FileEntry.of(content)}


def test_another_models_weights_are_not_served(rehearsal: Any, plan: Any) -> None:
    rehearsal.create_task(plan)
    with rehearsal.service.database.write() as connection:
        newest = models.newest_checkpoint(connection, POPULATION)
        assert newest is not None
        with pytest.raises(WrongContent):
            served_files(connection, POPULATION, newest, plan.tensors[:1])
