"""A model as bytes: as it is, or as small as we know how to make it, to weigh against a network of that size.

Columns are laid side by side, each by itself, differences instead of rising numbers, and LZMA takes what is left. For
a small file logarithms are rounded to few values, as KenLM's `-q` does: each is the mean of equally many of them
(Federico and Bertoldi 2006, "How Many Bits Are Needed to Store Probabilities for Phrase-Based Translation?"). The file
is denser than anything a keyboard could search in place, which is meant: the bound is generous.
"""

import lzma

import msgspec
import numpy as np

from evaluation.baselines.ngram import Level, NgramModel
from evaluation.targets import IntArray
from protocol.arrays import FloatArray

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "pb": 0}]
_MAX_VALUES = 256


class InvalidModel(Exception):
    """Bytes that are not a packed n-gram model."""


class _Logarithms(msgspec.Struct, array_like=True):
    """float32 numbers, or a table of them and a byte each."""

    values: bytes
    places: bytes | None


class _PackedLevel(msgspec.Struct, array_like=True):
    """Columns of a `Level`; differences of rising numbers begin again wherever what they belong to changes."""

    contexts_by_lower: bytes
    tokens: bytes
    entries_by_context: bytes
    words: bytes
    log_backoffs: _Logarithms
    log_probabilities: _Logarithms


class _Packed(msgspec.Struct, array_like=True):
    vocabulary_size: int
    levels: list[_PackedLevel]


def pack(model: NgramModel, num_values: int | None = None) -> bytes:
    """Writes a model.

    Args:
      model: of at most 65,536 ids.
      num_values: different logarithms that are kept for each level, in [1, 256]; None keeps all, exactly.

    Raises:
      ValueError: `num_values` is out of its bound, or the vocabulary too large.

    """
    if num_values is not None and not 1 <= num_values <= _MAX_VALUES:
        raise ValueError(f"num_values must be in [1, {_MAX_VALUES}], got {num_values}")
    if model.vocabulary_size > 2**16:
        raise ValueError(f"a packed model may have at most 65536 ids, got {model.vocabulary_size}")
    num_lower = [1, *(len(level.contexts) for level in model.levels)]
    levels = [
        _pack_level(level, lower, model.vocabulary_size, num_values)
        for level, lower in zip(model.levels, num_lower, strict=False)
    ]
    return lzma.compress(msgspec.msgpack.encode(_Packed(model.vocabulary_size, levels)), filters=_FILTERS)


def _pack_level(level: Level, num_lower: int, vocabulary_size: int, num_values: int | None) -> _PackedLevel:
    lower, tokens = np.divmod(level.contexts, vocabulary_size)
    lengths = np.diff(level.first)
    return _PackedLevel(
        contexts_by_lower=_planes(np.bincount(lower, minlength=num_lower)),
        tokens=_planes(_differences(tokens, lower)),
        entries_by_context=_planes(lengths),
        words=_planes(_differences(level.words, level.owners)),
        log_backoffs=_round(level.log_backoffs, num_values),
        log_probabilities=_round(level.log_probabilities, num_values),
    )


def unpack(payload: bytes) -> NgramModel:
    """Reads what `pack` wrote.

    Raises:
      InvalidModel: it is not that.

    """
    try:
        packed = msgspec.msgpack.decode(lzma.decompress(payload), type=_Packed)
        levels = tuple(_unpack_level(level, packed.vocabulary_size) for level in packed.levels)
    except (lzma.LZMAError, EOFError, msgspec.DecodeError, ValueError, IndexError):
        raise InvalidModel("an n-gram model must be a file written by `pack`") from None
    return NgramModel(packed.vocabulary_size, levels)


def _unpack_level(packed: _PackedLevel, vocabulary_size: int) -> Level:
    by_lower, lengths = _join(packed.contexts_by_lower), _join(packed.entries_by_context)
    lower, owners = np.repeat(np.arange(len(by_lower)), by_lower), np.repeat(np.arange(len(lengths)), lengths)
    return Level(
        contexts=lower * vocabulary_size + _sums(_join(packed.tokens), lower),
        log_backoffs=_restore(packed.log_backoffs),
        first=np.concatenate([[0], np.cumsum(lengths)]),
        words=_sums(_join(packed.words), owners),
        log_probabilities=_restore(packed.log_probabilities),
    )


def _planes(numbers: IntArray) -> bytes:
    """Numbers below 2^32, all lowest bytes first, then the next: upper bytes are nearly all zero."""
    return numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _join(planes: bytes) -> IntArray:
    return np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<u4").ravel().astype(np.int64)


def _differences(rising: IntArray, groups: IntArray) -> IntArray:
    """Each number minus the one before it of the same group; the first of a group stays."""
    before = np.where(groups[1:] == groups[:-1], rising[:-1], 0)
    return np.concatenate([rising[:1], rising[1:] - before])


def _sums(differences: IntArray, groups: IntArray) -> IntArray:
    """The inverse of `_differences`."""
    total = np.cumsum(differences)
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])[: len(groups)])
    before = (total - differences)[starts]
    return total - np.repeat(before, np.diff(np.append(starts, len(groups))))


def _round(numbers: FloatArray, num_values: int | None) -> _Logarithms:
    """Sorts numbers into classes of equal size, each told as its mean."""
    if num_values is None:
        return _Logarithms(numbers.astype("<f4").tobytes(), None)
    classes = np.empty(len(numbers), np.int64)
    classes[np.argsort(numbers, kind="stable")] = np.arange(len(numbers)) * num_values // max(1, len(numbers))
    used, places = np.unique(classes, return_inverse=True)
    means = np.bincount(places, weights=numbers, minlength=len(used)) / np.bincount(places, minlength=len(used))
    return _Logarithms(means.astype("<f4").tobytes(), places.astype(np.uint8).tobytes())


def _restore(logarithms: _Logarithms) -> FloatArray:
    values = np.frombuffer(logarithms.values, "<f4").astype(np.float32)
    return values if logarithms.places is None else values[np.frombuffer(logarithms.places, np.uint8)]
