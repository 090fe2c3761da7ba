import dataclasses

import pytest

from device_runtime.conditions import AlwaysEligible, NeverEligible
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.network.transfer import TransferStopped
from device_runtime.releases.refresh import RELEASES, ReleaseRefresh
from device_runtime.releases.release import MANIFEST_FILE
from device_runtime.rounds.agent import Enrolment
from device_runtime.rounds.outcome import Event


@pytest.fixture
def environment(tmp_path, clock):
    with new_session() as session:
        yield DeviceEnvironment(data_directory=tmp_path, conditions=AlwaysEligible(), clock=clock, http=session)


@pytest.fixture
def enrolment(service):
    return Enrolment(service_url=service.base_url, population="tests", public_key=service.key.public_key())


def test_without_a_release_nothing_changes_and_the_bytes_are_told(environment, enrolment, log, service):
    outcome = ReleaseRefresh(environment, enrolment, log)()
    assert (outcome.event, outcome.reason) == (Event.RELEASE_KEPT, "none yet")
    assert [method for method, _ in service.requests] == ["GET"]


def test_a_release_is_adopted_once(environment, enrolment, log, service, release_folder):
    from flask import Response, request

    from protocol import routes
    from protocol.manifest import FileEntry

    for path in release_folder.iterdir():
        service.files[FileEntry.of(path.read_bytes()).sha256] = path.read_bytes()
    manifest = (release_folder / MANIFEST_FILE).read_bytes()
    is_asked = routes.release("tests")
    service.override = lambda: Response(manifest, content_type="application/json") if request.path == is_asked else None
    refresh = ReleaseRefresh(environment, enrolment, log)
    first, second = refresh(), refresh()
    assert (first.event, first.reason, first.model_version) == (Event.RELEASE_ADOPTED, "adopted", 7)
    assert (second.event, second.reason) == (Event.RELEASE_KEPT, "unchanged")
    assert first.bytes_down > second.bytes_down == len(manifest)
    assert (environment.data_directory / "tests" / RELEASES).is_dir()


def test_a_condition_that_ends_stops_it(environment, enrolment, log, service):
    import time

    service.override = lambda: time.sleep(0.4)
    stopped = dataclasses.replace(environment, conditions=NeverEligible())
    with pytest.raises(TransferStopped):
        ReleaseRefresh(stopped, enrolment, log)()
