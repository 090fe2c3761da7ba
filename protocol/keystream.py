"""Keystreams: as many pseudorandom bytes from a 32-byte seed as anyone wants, the same on every machine."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEED_BYTES = 32
MAX_READ_INTO = 1 << 16
_NONCE = bytes(16)  # block counter and nonce: a key serves one stream only
_ZEROS = memoryview(bytes(MAX_READ_INTO))


class Keystream:
    """ChaCha20 (RFC 8439) under a key that HKDF-SHA256 (RFC 5869) draws from a seed for one purpose.

    Args:
      seed: 32 bytes, secret or public as the purpose says.
      label: the purpose; streams of the same seed under different labels are independent.

    Raises:
      ValueError: a seed that is not 32 bytes.

    """

    def __init__(self, seed: bytes, label: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a keystream's seed must have {SEED_BYTES} bytes, got {len(seed)}")
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=label).derive(seed)
        self._encryptor = Cipher(ChaCha20(key, _NONCE), mode=None).encryptor()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; reading in pieces gives what reading at once does."""
        return self._encryptor.update(bytes(size))

    def read_into(self, buffer: memoryview) -> None:
        """Overwrites `buffer` with the next bytes; unlike `read`, it allocates nothing.

        Raises:
          ValueError: a buffer of more than `MAX_READ_INTO` bytes.

        """
        if buffer.nbytes > MAX_READ_INTO:
            raise ValueError(f"a buffer must have at most {MAX_READ_INTO} bytes, got {buffer.nbytes}")
        self._encryptor.update_into(_ZEROS[: buffer.nbytes], buffer)
