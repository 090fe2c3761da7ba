import logging
import shutil

import msgspec
import pytest

from device_runtime.releases.release import MANIFEST_FILE, RELEASE_FILES, open_release
from device_runtime.releases.shelf import NoRelease, ReleaseShelf, ShelfState
from protocol.manifest import SignedManifest, sign_manifest
from protocol.messages import decode_message

A, B, C = (f"{number}-{'0' * 15}{number}" for number in (7, 8, 9))


@pytest.fixture
def new_shelf(tmp_path, signing_key):
    return lambda: ReleaseShelf(tmp_path / "releases", signing_key.public_key(), "tests")


@pytest.fixture
def shelf(new_shelf):
    return new_shelf()


@pytest.fixture
def content(release_folder, signing_key):
    """Gives a signed manifest and release of a version."""

    def make(version):
        release = open_release(release_folder, signing_key.public_key())
        manifest = msgspec.structs.replace(release.manifest, model_version=version)
        return sign_manifest(manifest, signing_key), release._replace(manifest=manifest)

    return make


@pytest.fixture
def two(shelf, content):
    shelf.adopt(A, *content(7))
    shelf.adopt(B, *content(8))
    return shelf


def test_an_empty_shelf_has_nothing(shelf):
    assert shelf.state() == ShelfState()
    with pytest.raises(NoRelease, match="tests must have a release"):
        shelf.current()
    with pytest.raises(NoRelease, match="going back"):
        shelf.rollback()


def test_the_present_one_and_the_one_before_are_kept(two, new_shelf, content):
    assert two.state() == ShelfState(current=B, previous=A)
    two.adopt(C, *content(9))
    assert new_shelf().current().manifest.model_version == 9
    assert sorted(path.name for path in two.folder.iterdir() if path.is_dir()) == [B, C]


def test_adopting_the_present_one_again_keeps_the_way_back(two, content):
    two.adopt(B, *content(8))
    assert two.state() == ShelfState(current=B, previous=A)


def test_rollback_goes_back_once_and_remembers(two, new_shelf):
    assert two.rollback().manifest.model_version == 7
    assert new_shelf().state() == ShelfState(current=A, refused=(B,))
    assert two.current().manifest.model_version == 7
    assert not (two.folder / B).exists()
    with pytest.raises(NoRelease):
        two.rollback()


def test_what_is_not_wanted_is_bounded(shelf, content):
    shelf.adopt(A, *content(7))
    names = [f"{number}-{number:016x}" for number in range(200)]
    for name in [*names, names[-1]]:
        shelf.refuse(name)
    assert shelf.state().refused == tuple(names[100:])
    assert shelf.state().current == A


@pytest.mark.parametrize("name", [MANIFEST_FILE, *RELEASE_FILES.values()])
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_release_is_never_used_and_the_one_before_serves(two, name, damage, caplog):
    path = two.folder / B / name
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"?" + whole[1:])
    with caplog.at_level(logging.WARNING):
        assert two.current().manifest.model_version == 7
    assert "not usable" in caplog.text
    shutil.rmtree(two.folder / A)
    with pytest.raises(NoRelease):
        two.current()


def test_killed_before_the_list_was_written_the_old_one_stays(two, content, monkeypatch, new_shelf):
    def die(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("device_runtime.releases.shelf.write_atomically", die)
    with pytest.raises(KeyboardInterrupt):
        two.adopt(C, *content(9))
    monkeypatch.undo()
    assert new_shelf().current().manifest.model_version == 8
    assert new_shelf().state() == ShelfState(current=B, previous=A)
    new_shelf().adopt(C, *content(9))
    assert new_shelf().state() == ShelfState(current=C, previous=B)


def test_killed_while_its_files_were_written_the_old_one_stays(two, content, monkeypatch, new_shelf):
    for died_after in range(6):
        written = []

        def write(path, content, *, count=died_after, made=written, **_options):
            if len(made) == count:
                raise KeyboardInterrupt
            made.append(path)
            path.write_bytes(content)

        monkeypatch.setattr("device_runtime.releases.release.write_atomically", write)
        with pytest.raises(KeyboardInterrupt):
            two.adopt(C, *content(9))
        assert new_shelf().current().manifest.model_version == 8


@pytest.mark.parametrize("damaged", [b"", b"{", b'{"current": "../../etc"}', b'{"current": 3}', b"\xff"])
def test_a_damaged_list_counts_as_empty(two, damaged, caplog):
    (two.folder / "releases.json").write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert two.state() == ShelfState()
    assert "damaged" in caplog.text


def test_what_is_kept_is_signed_as_it_came(two):
    signed = decode_message((two.folder / B / MANIFEST_FILE).read_bytes(), SignedManifest)
    assert b'"model_version":8' in signed.manifest
