"""The device's key towards a service: it signs requests, so that nobody else can speak for the device."""

import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from device_runtime.clock import Clock
from device_runtime.storage.keys import FileKeyStore, file_key
from protocol.manifest import encode_public_key
from protocol.signed_requests import sha256_hex, sign_request

IDENTITY_KEY_FILE = "identity.key"


def load_identity_key(directory: Path) -> Ed25519PrivateKey:
    """The key of a device in one population: a file of mode 0600 there, made if it is missing or damaged.

    Raises:
      UnusableKey: others than its owner may read the file.
      OSError: the disk cannot be read or written.

    """
    return Ed25519PrivateKey.from_private_bytes(file_key(directory / IDENTITY_KEY_FILE))


def new_identity_key(directory: Path) -> Ed25519PrivateKey:
    """Forgets the key of a device in one population, and makes another.

    Raises:
      OSError: the disk cannot be written.

    """
    FileKeyStore(directory / IDENTITY_KEY_FILE).delete()
    return load_identity_key(directory)


class RequestSigner:
    """Signs requests to one service as one device.

    Attributes:
      device_id: as whom.
      public_key: 64 hexadecimal digits.

    """

    def __init__(self, key: Ed25519PrivateKey, device_id: str, clock: Clock, service: Ed25519PublicKey):
        """Signs with `key` for the owner of the key `service`, at the time of `clock` until `correct` is called."""
        self.device_id = device_id
        self.public_key = encode_public_key(key.public_key())
        self._key = key
        self._clock = clock
        self._service = service
        self._offset_s = 0.0

    def sign(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """The headers that sign a request, with a fresh nonce: sending it again takes another signature.

        Args:
          method: such as POST.
          path: as in `protocol.routes`.
          body: all of it; empty where there is none.

        """
        return sign_request(
            self._key,
            service=self._service,
            method=method,
            path=path,
            body_sha256=sha256_hex(body),
            device_id=self.device_id,
            at=max(0, int(self._clock() + self._offset_s)),
            nonce=secrets.token_hex(16),
        )

    def correct(self, service_time: int) -> None:
        """Signs by the service's clock from now on.

        In memory only, and for nothing else: the device's own deadlines follow its own clock, which no service sets.
        """
        self._offset_s = service_time - self._clock()
