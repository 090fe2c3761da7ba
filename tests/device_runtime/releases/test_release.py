import shutil

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Response

from device_runtime.environment import new_session
from device_runtime.network.client import MalformedAnswer, ServiceClient
from device_runtime.releases.release import (
    MANIFEST_FILE,
    PUBLIC_KEY_FILE,
    RELEASE_FILES,
    IncompleteRelease,
    fetch_release,
    open_release,
    read_public_key,
    save_release,
)
from device_runtime.suggestions.blocked import BlockList
from protocol.errors import MalformedMessage, WrongContent, WrongManifest, WrongSignature
from protocol.manifest import FileEntry, Manifest, SignedManifest, sign_manifest
from protocol.messages import decode_message, encode_message


@pytest.fixture
def folder(release_folder, tmp_path):
    return shutil.copytree(release_folder, tmp_path / "copy")


@pytest.fixture
def key(signing_key):
    return signing_key.public_key()


def test_a_good_release_suggests(folder, key):
    release = open_release(folder, read_public_key(folder / PUBLIC_KEY_FILE), population="tests")
    assert release.manifest.model_version == 7
    assert len(release.predictor().suggest("see you ")) == 3
    assert b"mechanism" in release.privacy_statement


@pytest.mark.parametrize("name", [MANIFEST_FILE, *RELEASE_FILES.values()])
def test_a_missing_file_is_named(folder, key, name):
    (folder / name).unlink()
    with pytest.raises(IncompleteRelease, match=name):
        open_release(folder, key)


@pytest.mark.parametrize("name", RELEASE_FILES.values())
def test_a_changed_file_is_refused(folder, key, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(WrongContent):
        open_release(folder, key)


@pytest.mark.parametrize("name", RELEASE_FILES.values())
def test_a_truncated_file_is_refused_before_it_is_loaded(folder, key, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(WrongContent):
        open_release(folder, key)


def test_a_changed_manifest_is_refused(folder, key):
    signed = decode_message((folder / MANIFEST_FILE).read_bytes(), SignedManifest)
    older = signed.manifest.replace(b'"model_version":7', b'"model_version":8')
    assert older != signed.manifest
    (folder / MANIFEST_FILE).write_bytes(encode_message(msgspec.structs.replace(signed, manifest=older)))
    with pytest.raises(WrongSignature):
        open_release(folder, key)


def test_another_key_another_population_and_an_older_model_are_refused(folder, key):
    with pytest.raises(WrongSignature):
        open_release(folder, Ed25519PrivateKey.generate().public_key())
    with pytest.raises(WrongManifest, match="population"):
        open_release(folder, key, population="other")
    with pytest.raises(WrongManifest, match="model_version must be >= 8, got 7"):
        open_release(folder, key, minimum_version=8)


def test_a_rounds_manifest_or_one_without_files_is_no_release(folder, key, signing_key):
    for purpose, message in (("round", "purpose"), ("release", "must name a file prediction_model")):
        manifest = Manifest(purpose=purpose, population="tests", model_version=7, created_at=0, files={})
        (folder / MANIFEST_FILE).write_bytes(encode_message(sign_manifest(manifest, signing_key)))
        with pytest.raises(WrongManifest, match=message):
            open_release(folder, key)


@pytest.mark.parametrize("content", [b"", b"zz", b"\xff" * 64, b"0" * 63])
def test_a_key_file_must_hold_a_key(folder, content):
    (folder / PUBLIC_KEY_FILE).write_bytes(content)
    with pytest.raises(MalformedMessage):
        read_public_key(folder / PUBLIC_KEY_FILE)


@pytest.fixture
def client(folder, service):
    """The service has the release of `folder`."""
    signed = (folder / MANIFEST_FILE).read_bytes()
    manifest = msgspec.json.decode(decode_message(signed, SignedManifest).manifest, type=Manifest)
    for name, file_name in RELEASE_FILES.items():
        service.files[manifest.files[name].sha256] = (folder / file_name).read_bytes()

    def answer():
        wanted = service.requests[-1][1].endswith("/release")
        return Response(signed, content_type="application/json") if wanted else None

    service.override = answer
    with new_session() as session:
        yield ServiceClient(service.base_url, session)


def test_a_release_is_fetched_and_verified(client, folder, key):
    _, release = fetch_release(client, key, population="tests")
    assert release == open_release(folder, key)


def test_nothing_is_downloaded_for_a_manifest_by_another_key(client, service):
    with pytest.raises(WrongSignature):
        fetch_release(client, Ed25519PrivateKey.generate().public_key(), population="tests")
    assert len(service.requests) == 1


def test_a_file_that_is_not_the_manifests_is_refused(client, service, key):
    for sha256 in service.files:
        service.files[sha256] = service.files[sha256][:-1] + b"?"
    with pytest.raises(MalformedAnswer):
        fetch_release(client, key, population="tests")


def test_a_release_may_bring_words_that_are_never_suggested(folder, key, signing_key, tmp_path):
    release = open_release(folder, key)
    assert release.blocked_words == b""
    files = {name: getattr(release, name) for name in RELEASE_FILES} | {"blocked_words": b"Station\nthe\n"}
    entries = {name: FileEntry.of(content) for name, content in files.items()}
    manifest = Manifest(purpose="release", population="tests", model_version=8, created_at=0, files=entries)
    save_release(tmp_path / "blocking", sign_manifest(manifest, signing_key), files, key)
    blocking = open_release(tmp_path / "blocking", key)
    assert blocking.predictor().suggest("we go to the stat") == []
    assert release.predictor().suggest("we go to the stat") != []
    assert release.predictor(blocked=BlockList(["station"])).suggest("we go to the stat") == []
    assert blocking.predictor(blocked=BlockList(["tomorrow"])).suggest("tom") == []
    (tmp_path / "blocking" / "blocked_words.txt").unlink()
    with pytest.raises(IncompleteRelease, match="blocked_words"):
        open_release(tmp_path / "blocking", key)
