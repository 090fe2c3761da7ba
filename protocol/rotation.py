"""Rotation: spreads an update's weight evenly over its coordinates, so that few bits a coordinate suffice.

Updates are heavy-tailed: a few embedding rows carry most of the change. A randomised Hadamard transform (random signs,
then a Walsh-Hadamard transform H) keeps every distance and makes each coordinate a small sum of all of them. H wants a
power of two, and padding 1.4 million coordinates to one would cost 47 % more bytes. Two overlapping blocks need none:
with B the largest power of two <= d, the first B coordinates are transformed, then the last B.

    first:  [------- B -------]          d
    last:         [------- B -------]    each coordinate lies in at least one block
"""

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from protocol.errors import NonFiniteUpdate
from protocol.keystream import Keystream

FloatT = TypeVar("FloatT", np.float32, np.float64)

_LABEL = b"keychorus rotation v1"
_RADIX = 32  # stages of 32 x 32 products: four for a million coordinates, at the speed of memory


def rotate(update: npt.NDArray[FloatT], seed: bytes) -> npt.NDArray[FloatT]:
    """Device: turns `update` by the rotation that `seed` stands for.

    Args:
      update: float32 or float64 [num_weights].
      seed: 32 bytes, the round's, public: the same for all whose updates are added.

    Returns:
      A new vector of the same shape and type.

    Guarantees:
      Linear and orthogonal but for float rounding (relative to the norm about 3e-7 in float32, 5e-16 in float64):
      norms are kept, rotated vectors add up as the vectors do, and `unrotate` is the inverse.
      For every update x, each coordinate of the result, over the seeds, is sub-Gaussian of variance proxy |x|^2 / B:
      P(|coordinate| > t |x| / sqrt(B)) <= 2 exp(-t^2 / 2), where B is more than half of num_weights.

    | update                         | result            |
    |--------------------------------|-------------------|
    | zero                           | zero              |
    | a single weight                | itself or negated |
    | empty                          | empty             |
    | NaN or inf, or a sum overflows | raises            |

    Raises:
      NonFiniteUpdate: the result would hold NaN or infinity.
      ValueError: a seed that is not 32 bytes.

    Source: Suresh et al. 2017, arXiv 1611.00429, section 3, there with one block that is padded.

    """
    first_signs, last_signs = _signs(update.size, seed)
    block = first_signs.size
    rotated = update.copy()
    with np.errstate(over="ignore", invalid="ignore"):  # found below
        for part, signs in ((rotated[:block], first_signs), (rotated[-block:], last_signs)):
            _apply_signs(part, signs)
            _walsh_hadamard(part)
    _check_finite(rotated)
    return rotated


def unrotate(rotated: npt.NDArray[FloatT], seed: bytes) -> npt.NDArray[FloatT]:
    """Service: turns a rotated vector, or a sum of such, back; the inverse of `rotate` with the same seed.

    Args:
      rotated: float32 or float64 [num_weights].
      seed: 32 bytes, the round's.

    Raises:
      NonFiniteUpdate: the result would hold NaN or infinity.
      ValueError: a seed that is not 32 bytes.

    """
    first_signs, last_signs = _signs(rotated.size, seed)
    block = first_signs.size
    update = rotated.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for part, signs in ((update[-block:], last_signs), (update[:block], first_signs)):
            _walsh_hadamard(part)
            _apply_signs(part, signs)
    _check_finite(update)
    return update


def block_size(num_weights: int) -> int:
    """B, the largest power of two <= `num_weights`; 0 of none."""
    return 1 << (num_weights.bit_length() - 1) if num_weights else 0


def _signs(num_weights: int, seed: bytes) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """-1 or 1 for each coordinate of the first and the last block: the keystream's bits, lowest first."""
    block = block_size(num_weights)
    stream = Keystream(seed, _LABEL)

    def draw() -> npt.NDArray[np.int8]:
        octets = np.frombuffer(stream.read((block + 7) // 8), np.uint8)
        signs = np.unpackbits(octets, count=block, bitorder="little").view(np.int8)
        signs *= -2
        signs += 1
        return signs

    return draw(), draw()


def _apply_signs(part: npt.NDArray[FloatT], signs: npt.NDArray[np.int8]) -> None:
    """Multiplies with signs / sqrt(B), in place: the transform beside it is of bare +-1 and grows norms by sqrt(B)."""
    np.multiply(part, signs, out=part)
    part *= part.dtype.type(max(part.size, 1) ** -0.5)


def _walsh_hadamard(part: npt.NDArray[FloatT]) -> None:
    """Multiplies `part` [B] with the Walsh-Hadamard matrix of entries +-1 (Sylvester's order), in place.

    H of B = 32 * 32 * ... is the Kronecker product of as many H of 32: one small product along each of these axes.
    """
    source, target = part, np.empty_like(part)
    stride = 1
    while stride < part.size:
        radix = min(_RADIX, part.size // stride)
        matrix = _hadamard_matrix(radix, part.dtype.str)
        if stride == 1:
            np.matmul(source.reshape(-1, radix), matrix, out=target.reshape(-1, radix))
        else:
            shape = (-1, radix, stride)
            np.matmul(matrix, source.reshape(shape), out=target.reshape(shape))
        source, target = target, source
        stride *= radix
    if source is not part:
        part[:] = source


@cache
def _hadamard_matrix(order: int, dtype: str) -> npt.NDArray[np.float64]:
    """Sylvester's matrix of entries +-1, of that type."""
    matrix = np.ones((1, 1), dtype)
    while matrix.shape[0] < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _check_finite(values: npt.NDArray[FloatT]) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteUpdate("an update must be finite, also after its rotation")
