"""States of noise streams as they lie in the database: sealed in parts, so that who reads it cannot take noise off.

The key follows from the service's signing key, which a restart brings back, and which is in no table. Each part is
bound to its task, its step and its place, and says how many there are: none can be moved, left out, or put back.

Source: AES-GCM with random nonces, NIST SP 800-38D, section 8.2.2; a key takes 2^32 parts, which is as many megabytes.
"""

import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aggregation_service.coordination.sealing import NotSealed
from aggregation_service.storage.noise_streams import StatePart

PART_BYTES = 1 << 20
"""As of partial sums: a driver and a database hold a row in memory more than once."""

_LABEL = b"keychorus noise state v1"
_NONCE_BYTES = 12


def seal_state(signing_key: Ed25519PrivateKey, state: bytes, *, task_id: int, step: int) -> Iterator[StatePart]:
    """Seals a stream's state, one part after the other.

    Args:
      signing_key: the service's.
      state: what `NoiseStream.to_bytes` wrote.
      task_id: whose stream it is.
      step: the number of its next step.

    """
    cipher = _cipher(signing_key)
    starts = range(0, len(state), PART_BYTES)
    view = memoryview(state)
    for part, start in enumerate(starts):
        nonce = os.urandom(_NONCE_BYTES)
        context = _context(task_id, step, part, len(starts))
        sealed = cipher.encrypt(nonce, view[start : start + PART_BYTES], context)
        yield StatePart(part, step, nonce + sealed)


def open_state(signing_key: Ed25519PrivateKey, parts: Iterable[StatePart], *, task_id: int, num_parts: int) -> bytes:
    """Opens what `seal_state` sealed.

    Args:
      signing_key: the service's.
      parts: in order, all of one step.
      task_id: whose stream it is.
      num_parts: how many there are.

    Raises:
      NotSealed: a part is missing, damaged, of another task, step or place, or sealed by another service.

    """
    cipher = _cipher(signing_key)
    opened, steps = [], set()
    for number, part in enumerate(parts):
        context = _context(task_id, part.step, number, num_parts)
        try:
            opened.append(cipher.decrypt(part.sealed[:_NONCE_BYTES], part.sealed[_NONCE_BYTES:], context))
        except (InvalidTag, ValueError):  # ValueError: too short for a nonce
            raise NotSealed(f"part {number} of a noise state is damaged, or of another stream or step") from None
        steps.add(part.step)
    if len(steps) > 1:
        raise NotSealed(f"the parts of a noise state must be of one step, got {sorted(steps)}")
    return b"".join(opened)


def _cipher(signing_key: Ed25519PrivateKey) -> AESGCM:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL)
    return AESGCM(derivation.derive(signing_key.private_bytes_raw()))


def _context(task_id: int, step: int, part: int, num_parts: int) -> bytes:
    return f"{task_id}/{step}/{part}/{num_parts}".encode()
