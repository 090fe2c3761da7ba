"""A keyring in memory: what the tests have in place of the operating system's."""

from contextlib import contextmanager

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class MemoryKeyring(KeyringBackend):
    """Keeps passwords; can be locked."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.locked = False

    def get_password(self, service, username):
        self._check_open()
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self._check_open()
        self.kept[service, username] = password

    def delete_password(self, service, username):
        self._check_open()
        if (service, username) not in self.kept:
            raise PasswordDeleteError("words of the keyring")
        del self.kept[service, username]

    def _check_open(self):
        if self.locked:
            raise KeyringLocked("words of the keyring")


@contextmanager
def keyring_in_use(backend):
    """Makes `backend` the keyring of this process for a while."""
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield backend
    finally:
        keyring.set_keyring(before)
