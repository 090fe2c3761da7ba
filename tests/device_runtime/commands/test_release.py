import pytest
from click.testing import CliRunner
from flask import Response

from device_runtime.commands.release import open_keeper, release, tell
from device_runtime.releases.keeper import Decision, Verdict
from device_runtime.releases.release import MANIFEST_FILE, PUBLIC_KEY_FILE, RELEASE_FILES
from protocol.manifest import FileEntry


@pytest.fixture
def run(tmp_path, release_folder):
    """Runs a command of `keychorus device release` in a data directory of its own."""

    def invoke(command, *options):
        whose = ["--population", "tests", "--public-key", str(release_folder / PUBLIC_KEY_FILE)]
        return CliRunner().invoke(release, [command, *whose, "--data-dir", str(tmp_path / "data"), *options])

    return invoke


@pytest.fixture
def fetch(run, service, release_folder):
    """The service has the release of `release_folder`."""
    for name in RELEASE_FILES.values():
        content = (release_folder / name).read_bytes()
        service.files[FileEntry.of(content).sha256] = content

    def answer():
        wanted = service.requests[-1][1].endswith("/release")
        signed = (release_folder / MANIFEST_FILE).read_bytes()
        return Response(signed, content_type="application/json") if wanted else None

    service.override = answer
    return lambda: run("fetch", "--service", service.base_url)


def test_a_device_begins_without_a_release(run):
    shown = run("status")
    assert shown.exit_code == 0
    assert "present release    none" in shown.output
    back = run("rollback")
    assert back.exit_code == 1
    assert back.output.startswith("Error: going back needs a release")


def test_fetch_adopts_and_status_shows(run, fetch, tmp_path, release_folder):
    fetched = fetch()
    assert (fetched.exit_code, fetched.output) == (0, "Release 7: adopted\n")
    assert fetch().output == "Release 7: unchanged\n"
    assert "present release    7 of 1970-01-01" in run("status").output
    keeper = open_keeper(tmp_path / "data", "tests", release_folder / PUBLIC_KEY_FILE)
    assert len(keeper.current().predictor().suggest("see ")) == 3


def test_a_refusal_is_told_and_seen_by_the_shell(run, service):
    service.override = lambda: Response("no", 503)
    refused = run("fetch", "--service", service.base_url)
    assert (refused.exit_code, refused.output) == (1, "Newest release: unreachable\n")


def test_a_missing_key_is_one_sentence(tmp_path):
    options = ["--population", "tests", "--public-key", str(tmp_path / "none"), "--data-dir", str(tmp_path)]
    shown = CliRunner().invoke(release, ["status", *options])
    assert shown.exit_code == 1
    assert shown.output.count("\n") == 1


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_can_be_told(verdict):
    assert verdict.value in tell(Decision(verdict, 4, 300, -0.2))
