"""Sealing: partial sums that lie in the database can be opened only by the process that leads the round.

Each round has its own X25519 key, whose private half never leaves the leader's memory. Whoever seals draws an ephemeral
key, so that not even the sealer can open what it sealed before.

| here       | RFC 9180 |
|------------|----------|
| `_derive`  | the KDF of a base-mode KEM, with both public keys in its context |
| `sealed`   | enc and ciphertext |

Source: the construction of HPKE's base mode, RFC 9180, section 5.1.1, here with this service's own labels.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LABEL = b"keychorus partial sum v1"
_KEY_BYTES = 32
_TAG_BYTES = 16
_NONCE = bytes(12)  # never repeats under a key: each derived key seals once


class NotSealed(Exception):
    """Bytes that this key did not have sealed for it, or not for this round, worker and number of updates."""


class RoundKey:
    """A round's key pair; the private half exists in this object only."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def open(self, sealed: bytes | bytearray, context: bytes) -> bytes:
        """Opens what `seal` sealed.

        Raises:
          NotSealed: damaged, or sealed for another key or context.

        """
        if len(sealed) < _KEY_BYTES + _TAG_BYTES:
            raise NotSealed(f"a sealed sum must have at least {_KEY_BYTES + _TAG_BYTES} bytes, got {len(sealed)}")
        view = memoryview(sealed)
        ephemeral = bytes(view[:_KEY_BYTES])
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            return AESGCM(_derive(shared, ephemeral, self.public)).decrypt(_NONCE, view[_KEY_BYTES:], context)
        except (InvalidTag, ValueError):  # ValueError: a point of low order
            raise NotSealed("a partial sum is damaged, or was sealed for something else") from None


def seal(public: bytes, plaintext: memoryview | bytes, context: bytes) -> bytearray:
    """Encrypts `plaintext` so that only the holder of the `RoundKey` with this public half can read it.

    Args:
      public: 32 bytes, the round's sealing key.
      plaintext: anything with a buffer.
      context: is authenticated, not stored: opening needs the same.

    Returns:
      The ephemeral public key, 32 bytes, then ciphertext and tag: 48 bytes more than `plaintext`.

    """
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    enclosed = ephemeral.public_key().public_bytes_raw()
    plaintext = memoryview(plaintext).cast("B")
    sealed = bytearray(_KEY_BYTES + len(plaintext) + _TAG_BYTES)
    sealed[:_KEY_BYTES] = enclosed
    cipher = AESGCM(_derive(shared, enclosed, public))
    cipher.encrypt_into(_NONCE, plaintext, context, memoryview(sealed)[_KEY_BYTES:])  # megabytes: not copied again
    return sealed


def _derive(shared: bytes, ephemeral: bytes, public: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL + ephemeral + public).derive(shared)
