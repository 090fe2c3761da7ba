"""Randomness of a rehearsal that can be told again: in processes of the emulator alone, by a seed.

Ids, reconnect windows, noise and masks come from the system's secure source in the product, and nothing in it takes
another. A rehearsal whose report shall be the same twice therefore replaces that source itself, before the product is
loaded, and only in processes that live as long as the rehearsal: what was made with it protects nobody. Keys of
OpenSSL's (Ed25519, X25519) are not reached; no figure depends on them.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256


class SeededEntropy:
    """What stands in for `os.urandom`: a stream of bytes that begins anew whenever it is named."""

    def __init__(self) -> None:
        self.begin("")

    def begin(self, name: str) -> None:
        """Begins the stream of this name: the same name, the same bytes."""
        self._key = sha256(name.encode()).digest()
        self._generator = random.Random(self._key)  # noqa: S311  # a rehearsal's, on purpose

    def __call__(self, size: int) -> bytes:
        """The next `size` bytes."""
        return self._generator.randbytes(size)


def replace_entropy() -> SeededEntropy:
    """Puts a seeded stream in the place of the system's secure source, for the rest of this process, or finds it there.

    Must come before what binds `os.urandom` as a default is loaded: the aggregation service's noise.
    """
    if isinstance(os.urandom, SeededEntropy):
        return os.urandom
    entropy = SeededEntropy()
    os.urandom = entropy
    random._urandom = entropy  # type: ignore[attr-defined]  # noqa: SLF001  # `secrets` and `SystemRandom` read it here
    return entropy


@contextmanager
def seeded_entropy(name: str) -> Iterator[None]:
    """`replace_entropy` for as long as the block lasts, from the beginning of the stream `name`."""
    before = os.urandom, random._urandom  # type: ignore[attr-defined]  # noqa: SLF001
    replace_entropy().begin(name)
    try:
        yield
    finally:
        os.urandom, random._urandom = before  # type: ignore[attr-defined]  # noqa: SLF001
