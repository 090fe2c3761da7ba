import base64
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from keyring.backends import fail
from memory_keyring import MemoryKeyring, keyring_in_use

from device_runtime.storage.files import UnusableKey
from device_runtime.storage.keys import (
    KEYRING_SERVICE,
    FileKeyStore,
    KeyPlace,
    KeyringKeyStore,
    file_key,
    key_store,
    load_or_make_key,
)

KEY = bytes(range(32))


@pytest.fixture
def memory_keyring():
    with keyring_in_use(MemoryKeyring()) as memory:
        yield memory


@pytest.fixture(params=list(KeyPlace))
def store(request, tmp_path, memory_keyring):
    return key_store(request.param, tmp_path / "log.sqlite")


def test_a_store_keeps_a_key_until_it_is_deleted(store):
    assert store.load() is None
    store.save(KEY)
    assert store.load() == KEY
    store.save(bytes(32))
    assert store.load() == bytes(32)
    store.delete()
    store.delete()
    assert store.load() is None


def test_a_key_is_made_once(store):
    key = load_or_make_key(store)
    assert len(key) == 32
    assert load_or_make_key(store) == key
    store.delete()
    assert load_or_make_key(store) != key


def test_stores_of_two_logs_are_apart(tmp_path, memory_keyring):
    for place in KeyPlace:
        one, other = (key_store(place, tmp_path / name) for name in ("a.sqlite", "b.sqlite"))
        one.save(KEY)
        assert other.load() is None


def test_a_key_file_is_private_and_alone(tmp_path):
    key = file_key(tmp_path / "new" / "device.key")
    path = tmp_path / "new" / "device.key"
    assert path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_many_at_once_get_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(file_key, [tmp_path / "device.key"] * 16))
    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_may_use_is_refused_and_left_alone(tmp_path, mode):
    path = tmp_path / "device.key"
    key = file_key(path)
    path.chmod(mode)
    with pytest.raises(UnusableKey, match=f"must have mode 0600, got {mode:04o}"):
        file_key(path)
    assert path.read_bytes() == key


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_file_is_set_aside_with_one_warning(tmp_path, caplog, content):
    path = tmp_path / "device.key"
    FileKeyStore(path).save(content)
    assert len(file_key(path)) == 32
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "damaged" in caplog.text
    assert path.with_name("device.key.damaged").read_bytes() == content
    FileKeyStore(path).delete()
    assert list(tmp_path.iterdir()) == []


def test_a_keyring_holds_text(memory_keyring, tmp_path):
    KeyringKeyStore("log").save(KEY)
    assert memory_keyring.kept == {(KEYRING_SERVICE, "log"): base64.b64encode(KEY).decode()}


@pytest.mark.parametrize("kept", ["", "no base64!", "c2hvcnQ=", "ü"])
def test_a_damaged_key_in_the_keyring_counts_as_none(memory_keyring, caplog, kept):
    memory_keyring.kept[KEYRING_SERVICE, "log"] = kept
    assert KeyringKeyStore("log").load() is None
    assert "a new key is made" in caplog.text


@pytest.mark.parametrize("use", [lambda store: store.load(), lambda store: store.save(KEY)])
def test_a_missing_keyring_is_told_in_one_sentence(use):
    with keyring_in_use(fail.Keyring()), pytest.raises(UnusableKey) as error:
        use(KeyringKeyStore("log"))
    assert str(error.value) == "the key store `keyring` needs a keyring service, got none; `file` needs nothing"


def test_a_locked_keyring_is_not_a_lost_key(memory_keyring):
    KeyringKeyStore("log").save(KEY)
    memory_keyring.locked = True
    with pytest.raises(UnusableKey) as error:
        load_or_make_key(KeyringKeyStore("log"))
    assert str(error.value) == "the keyring could not be read: KeyringLocked"
    memory_keyring.locked = False
    assert KeyringKeyStore("log").load() == KEY


def test_devices_with_a_key_file_do_not_load_keyring(tmp_path):
    program = (
        "import sys; from pathlib import Path; from device_runtime.typing_log import TypingLog\n"
        "TypingLog(Path(sys.argv[1])).close(); print('keyring' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log.sqlite")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
