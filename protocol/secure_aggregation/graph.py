"""Who is whose neighbour: a ring of a group's members in random order, the same for whoever computes it.

The order is drawn from the digest of the roster, so a service cannot show two members of one roster two graphs, and who
joins cannot choose whom to sit beside. Each member's neighbours are the degree/2 nearest on either side.
"""

import itertools
from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DIGEST_BYTES = 32

_DOMAIN = b"keychorus ring order v1"
_COUNTER_AND_NONCE = bytes(16)  # every digest gives one key, every key one order
_WORD_BYTES = 4
_NUM_WORDS = 1 << 8 * _WORD_BYTES
_ZEROS = bytes(1 << 12)


def ring_order(roster_digest: bytes, num_members: int) -> tuple[int, ...]:
    """Both sides: the members' indices in the order in which they stand on the ring.

    Args:
      roster_digest: 32 bytes, SHA-256 over all that the roster says.
      num_members: n >= 1.

    Guarantees:
      a permutation of 0 ... n - 1, a function of the two arguments only, every permutation as likely as another up to
      what distinguishes ChaCha20 from random.

    Raises:
      ValueError: a digest that is not 32 bytes, or no members.

    Source: Bell et al. 2020, eprint 2020/704, section 3.2; the shuffle is Durstenfeld's.

    """
    if len(roster_digest) != DIGEST_BYTES:
        raise ValueError(f"roster_digest must be {DIGEST_BYTES} bytes, got {len(roster_digest)}")
    if not 1 <= num_members < _NUM_WORDS:
        raise ValueError(f"num_members must be 1 to {_NUM_WORDS - 1}, got {num_members}")
    order = list(range(num_members))
    words = _random_words(roster_digest)
    for last in range(num_members - 1, 0, -1):
        chosen = _below(last + 1, words)
        order[last], order[chosen] = order[chosen], order[last]
    return tuple(order)


def neighbours(order: Sequence[int], degree: int, index: int) -> tuple[int, ...]:
    """Both sides: the neighbours of member `index`, sorted.

    Args:
      order: as `ring_order` gave it.
      degree: k, even and below n, or n - 1.
      index: of the member.

    Guarantees:
      exactly `degree` members, never itself; a is a neighbour of b where b is one of a. No degree - 1 members leave the
      others in two parts when they go (a Harary graph, k-connected).

    | degree | neighbours              |
    |--------|-------------------------|
    | 0      | none                    |
    | n - 1  | all others, n odd or even |

    Raises:
      ValueError: a degree that no ring of this size has, or no such member.

    """
    _check_degree(len(order), degree)
    if not 0 <= index < len(order):
        raise ValueError(f"index must be 0 to {len(order) - 1}, got {index}")
    return _around(order, degree, order.index(index))


def neighbourhoods(order: Sequence[int], degree: int) -> tuple[tuple[int, ...], ...]:
    """Service: the neighbours of every member, by index, as `neighbours` gives them, in one pass over the ring.

    Raises:
      ValueError: a degree that no ring of this size has.

    """
    _check_degree(len(order), degree)
    by_index = {member: _around(order, degree, place) for place, member in enumerate(order)}
    return tuple(by_index[index] for index in range(len(order)))


def _check_degree(num_members: int, degree: int) -> None:
    if not (0 <= degree < num_members and (degree % 2 == 0 or degree == num_members - 1)):
        raise ValueError(f"degree must be even and below {num_members}, or {num_members - 1}, got {degree}")


def _around(order: Sequence[int], degree: int, place: int) -> tuple[int, ...]:
    """The members from degree/2 places before to degree/2 after; an odd degree is one more, which closes the ring."""
    steps = itertools.chain(range(-(degree // 2), 0), range(1, degree - degree // 2 + 1))
    return tuple(sorted(order[(place + step) % len(order)] for step in steps))


def _below(bound: int, words: Iterator[int]) -> int:
    """A uniform number below `bound`: words past its last whole multiple are passed over, so that none is favoured."""
    limit = _NUM_WORDS - _NUM_WORDS % bound
    return next(word for word in words if word < limit) % bound


def _random_words(roster_digest: bytes) -> Iterator[int]:
    """The keystream that belongs to this roster as 32-bit little-endian words, without end."""
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_DOMAIN).derive(roster_digest)
    keystream = Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor()
    while True:
        block = keystream.update(_ZEROS)
        for start in range(0, len(block), _WORD_BYTES):
            yield int.from_bytes(block[start : start + _WORD_BYTES], "little")
