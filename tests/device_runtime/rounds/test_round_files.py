import numpy as np
import pytest

from device_runtime.environment import new_session
from device_runtime.network.client import ServiceClient
from device_runtime.rounds.round_files import RoundFiles
from protocol import routes
from protocol.checkpoints import make_difference
from protocol.errors import ProtocolError
from protocol.weights import decode_checkpoint, encode_served


@pytest.fixture
def files(tmp_path, service):
    with new_session() as session:
        client = ServiceClient(service.base_url, session)
        yield RoundFiles(tmp_path / "cache", client, "tests", service.key.public_key(), None)


def test_a_round_is_downloaded_once(files, service, round_files, plan):
    manifest = files.open_manifest(service.offer(round_files), minimum_version=0)
    assert files.load(manifest).plan == plan
    asked = len(service.requests)
    assert asked == len(round_files)
    assert files.load(manifest).plan == plan
    assert len(service.requests) == asked


def test_another_round_leaves_nothing_behind(files, service, round_files, tmp_path):
    files.load(files.open_manifest(service.offer(round_files), minimum_version=0))
    (tmp_path / "cache" / "0123").write_bytes(b"of another round")
    selected = service.offer(round_files)
    files.keep_only(files.open_manifest(selected, minimum_version=0))
    assert len(list((tmp_path / "cache").iterdir())) == len(round_files)
    files.forget_checkpoint(selected)
    kept = {path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    assert kept == set(round_files.values()) - {round_files["checkpoint"]}


def test_an_older_model_is_refused(files, service, round_files):
    with pytest.raises(ProtocolError, match="model_version must be >= 6, got 5"):
        files.open_manifest(service.offer(round_files), minimum_version=6)


@pytest.fixture
def versions(checkpoint, generator):
    """A base and the two versions after it, as `(files that the manifest adds, served bytes)`."""
    base = encode_served(checkpoint)
    made = [({"checkpoint": base, "checkpoint_base": base}, base)]
    weights = checkpoint
    for _ in range(2):
        weights = {
            name: value + generator.normal(0, 0.01, value.shape).astype(np.float32) for name, value in weights.items()
        }
        difference, served = make_difference(weights, base)
        names = {"checkpoint": served, "checkpoint_base": base, "checkpoint_difference": difference}
        made.append((names, served))
    return made


def downloads(service, run):
    """Bytes of files that `run` downloads."""
    before = len(service.requests)
    run()
    return sum(len(service.files[path.rpartition("/")[2]]) for _, path in service.requests[before:])


def test_whoever_holds_the_base_downloads_differences(files, service, round_files, versions, plan):
    others = sum(len(content) for name, content in round_files.items() if name != "checkpoint")
    for number, (names, served) in enumerate(versions):
        selected = service.offer(round_files | names, model_version=number)
        manifest = files.open_manifest(selected, minimum_version=0)
        loaded = []
        downloaded = downloads(service, lambda m=manifest, found=loaded: found.append(files.load(m)))
        for name, value in decode_checkpoint(served, plan.tensors).items():
            np.testing.assert_array_equal(loaded[0].checkpoint[name], value)
        assert downloaded == (others + len(served) if number == 0 else len(names["checkpoint_difference"]))
        files.keep_only(manifest)
        assert downloads(service, lambda m=manifest: files.load(m)) == 0, "training finds what configuring left"
        files.forget_checkpoint(selected)


def test_whoever_comes_later_downloads_base_and_difference_once(files, service, round_files, versions):
    (first, _), (second, _) = versions[1:]
    manifest = files.open_manifest(service.offer(round_files | first), minimum_version=0)
    files.load(manifest)
    assert ("GET", routes.file(manifest.files["checkpoint"].sha256)) not in service.requests
    manifest = files.open_manifest(service.offer(round_files | second), minimum_version=0)
    assert downloads(service, lambda: files.load(manifest)) == len(second["checkpoint_difference"])


@pytest.mark.parametrize("wrong", [b"", b"KCDF of another kind", None], ids=["short", "other", "another version's"])
def test_a_difference_that_leads_elsewhere_costs_a_whole_download_and_no_round(
    *, files, service, round_files, versions, plan, wrong
):
    (names, served), (other, _) = versions[1:]
    difference = other["checkpoint_difference"] if wrong is None else wrong or b"x"
    offered = round_files | names | {"checkpoint_difference": difference}
    manifest = files.open_manifest(service.offer(offered), minimum_version=0)
    loaded = files.load(manifest).checkpoint
    for name, value in decode_checkpoint(served, plan.tensors).items():
        np.testing.assert_array_equal(loaded[name], value)


def test_a_baseline_is_loaded_and_forgotten(*, files, service, round_files, versions, plan, tmp_path):
    names = {"baseline_checkpoint": versions[1][1]}
    selected = service.offer(round_files | names)
    manifest = files.open_manifest(selected, minimum_version=0)
    assert set(files.load(manifest).baseline) == {spec.name for spec in plan.tensors}
    files.keep_only(manifest)
    files.forget_checkpoint(selected)
    kept = {path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    assert kept == set(round_files.values()) - {round_files["checkpoint"]}
