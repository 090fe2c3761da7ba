import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import msgspec
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_runtime.cli import device
from device_runtime.commands.keyboard import kept_release
from device_runtime.releases.keeper import ReleaseKeeper, Verdict
from device_runtime.releases.release import MANIFEST_FILE, PUBLIC_KEY_FILE, RELEASE_FILES
from device_runtime.typing_log import TypingLog
from protocol.manifest import SignedManifest, decode_manifest, encode_public_key, sign_manifest
from protocol.messages import decode_message

PROGRAM = "from device_runtime.cli import device; device()"


@contextmanager
def served(*arguments):
    """Runs the command as a process of its own until the test has done; gives the page's address."""
    command = [sys.executable, "-c", PROGRAM, "keyboard", "--no-open", *map(str, arguments)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline()).group()
        finally:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "xylophone" not in output + errors


def ask(address, path, body=None):
    headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    content = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address + path, content, headers)  # noqa: S310  (a loopback address)
    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
        return json.load(answer)


def test_a_message_goes_from_the_page_into_the_log_and_only_with_consent(release_folder, tmp_path):
    with served("--release", release_folder, "--data-dir", tmp_path) as address:
        assert ask(address, "messages", {"text": "a xylophone"})["admission"] == "no_consent"
        assert ask(address, "switches", {"consent": True})["switches"]["consent"] is True
        assert ask(address, "messages", {"text": "a xylophone tomorrow"})["admission"] == "stored"
        assert ask(address, "suggestions", {"text": "see you tom"})[0]["word"] == "tomorrow"
        assert ask(address, "knowledge")["model_version"] == 7
    with TypingLog(tmp_path / "typing_log.sqlite") as log:
        assert [each.text for each in log.messages(100)] == ["a xylophone tomorrow"]


def test_without_a_release_it_says_how_to_get_one(tmp_path):
    arguments = ["keyboard", "--release", str(tmp_path / "none"), "--no-open", "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(device, arguments)
    assert result.exit_code == 1
    assert "keychorus demo" in result.output
    assert len(result.output.splitlines()) == 1


def keep(data_dir, population, release_folder, signing_key, version):
    """Adopts the release, as version `version`, as the daemon would have."""
    signed = decode_message((release_folder / MANIFEST_FILE).read_bytes(), SignedManifest)
    manifest = msgspec.structs.replace(decode_manifest(signed.manifest), population=population, model_version=version)
    keeper = ReleaseKeeper(data_dir / population / "releases", signing_key.public_key(), population)
    files = {manifest.files[name].sha256: (release_folder / RELEASE_FILES[name]).read_bytes() for name in RELEASE_FILES}
    decision = keeper.consider(sign_manifest(manifest, signing_key), lambda _, entry: files[entry.sha256])
    assert decision.verdict is Verdict.ADOPTED


def test_the_kept_release_comes_before_the_default_one(tmp_path, release_folder, signing_key):
    assert kept_release(tmp_path, None, None) is None
    keep(tmp_path, "tests", release_folder, signing_key, 9)
    assert kept_release(tmp_path, None, None).manifest.model_version == 9
    assert kept_release(tmp_path, "tests", release_folder / PUBLIC_KEY_FILE).manifest.model_version == 9
    assert kept_release(tmp_path, "others", None) is None
    with served("--data-dir", tmp_path) as address:
        assert ask(address, "knowledge")["model_version"] == 9
    with served("--data-dir", tmp_path, "--release", release_folder) as address:
        assert ask(address, "knowledge")["model_version"] == 7


def test_of_several_kept_releases_one_must_be_named(tmp_path, release_folder, signing_key):
    keep(tmp_path, "english", release_folder, signing_key, 3)
    keep(tmp_path, "german", release_folder, signing_key, 4)
    result = CliRunner().invoke(device, ["keyboard", "--no-open", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "--population must name one of english, german" in result.output
    assert kept_release(tmp_path, "german", None).manifest.model_version == 4


def test_a_kept_release_under_another_key_is_not_used(tmp_path, release_folder, signing_key):
    keep(tmp_path, "tests", release_folder, signing_key, 9)
    stranger = tmp_path / "stranger.txt"
    stranger.write_text(encode_public_key(Ed25519PrivateKey.generate().public_key()))
    assert kept_release(tmp_path, "tests", stranger) is None
