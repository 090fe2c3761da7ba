import pytest

from device_runtime.environment import new_session
from device_runtime.network.client import ServiceClient
from device_runtime.rounds.round_files import RoundFiles
from protocol.errors import ProtocolError


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
