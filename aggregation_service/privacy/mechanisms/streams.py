"""A mechanism's noise, one step after the other, and its state, which survives restarts.

The state is as secret as the noise: with it, the sums without noise could be told. It is to be committed in one
transaction with what the ledger says of the step, before the step's sum is released.
"""

from typing import Annotated

import msgspec
import numpy as np

from aggregation_service.privacy.mechanisms.memories import (
    Draw,
    IntArray,
    NoiseOutOfRange,
    Vectors,
    checked,
    empty_memory,
)
from aggregation_service.privacy.mechanisms.parameters import Mechanism


class WrongState(Exception):
    """A saved state that is not of this stream: of another task, mechanism or size, or damaged."""


class _Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A state as it is stored; `vectors` are little-endian, row by row."""

    context: str
    parameters: Mechanism
    size: int
    step: Annotated[int, msgspec.Meta(ge=0)]
    vectors: bytes


class NoiseStream:
    """The noise of one task's rounds, in order.

    Args:
      parameters: the mechanism.
      size: coordinates of each noise vector, >= 1.
      context: what the stream belongs to, such as its task's id. A state is of no other: noise that takes back what
        another task's noise added would be accounted for in neither.
      state: what `to_bytes` wrote, to go on as the stream that wrote it would have; None to begin.

    Attributes:
      step: 0-based number of the step that is next.

    Raises:
      ValueError: a parameter out of its bound.
      WrongState: a state of another context, mechanism or size; truncated, or damaged so that it cannot be a state.

    """

    def __init__(self, parameters: Mechanism, size: int, *, context: str, state: bytes | None = None) -> None:
        if size < 1:
            raise ValueError(f"size must be >= 1, got {size}")
        if not context:
            raise ValueError("context must name what the stream belongs to, got an empty string")
        self.parameters = parameters
        self.size = size
        self.context = context
        self.step = 0
        self._memory = empty_memory(parameters, size)
        if state is not None:
            self._resume(state)

    def next(self, draw: Draw) -> IntArray:
        """Makes the next step's noise.

        Args:
          draw: makes independent discrete Gaussian integers, int64 [size], in units of the grid. It is called once a
            step; by a tree once for every node that the step completes, so less than twice a step on average.

        Returns:
          n_t, int64 [size], to be added to the step's sum in units of the grid.

        Guarantees:
          If this raises, the stream is as it was.

        Raises:
          NoiseOutOfRange: see `memories.LARGEST`.
          ValueError: `draw` gave something else than int64 [size].

        """

        def fresh() -> IntArray:
            values = draw()
            if values.dtype != np.int64 or values.shape != (self.size,):
                raise ValueError(f"draw must give int64 [{self.size}], got {values.dtype} {list(values.shape)}")
            return checked(values)

        noise = self._memory.next_noise(self.step, fresh)
        self.step += 1
        return noise

    def to_bytes(self) -> bytes:
        """Writes the state: 8 bytes for each coordinate of each vector that the mechanism keeps, and a short head.

        | mechanism         | vectors               |
        |-------------------|-----------------------|
        | independent       | 0                     |
        | tree              | log2(`restart_every`) |
        | banded Toeplitz   | bands - 1             |
        | buffered Toeplitz | as many as decays     |
        """
        vectors = self._memory.vectors
        saved = _Saved(
            context=self.context,
            parameters=self.parameters,
            size=self.size,
            step=self.step,
            vectors=vectors.astype(vectors.dtype.newbyteorder("<"), copy=False).tobytes(),
        )
        return msgspec.msgpack.encode(saved)

    def _resume(self, state: bytes) -> None:
        saved = _decode(state)
        for name in ("context", "parameters", "size"):
            if getattr(saved, name) != getattr(self, name):
                raise WrongState(f"{name} of the state must be {getattr(self, name)}, got {getattr(saved, name)}")
        self._memory.vectors = _read_vectors(saved.vectors, self._memory.vectors)
        self.step = saved.step


def _decode(state: bytes) -> _Saved:
    try:
        return msgspec.msgpack.decode(state, type=_Saved)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # msgspec lets the latter through for a damaged name
        raise WrongState(f"a noise stream's state cannot be read: {error}") from None


def _read_vectors(content: bytes, like: Vectors) -> Vectors:
    """Reads vectors of the shape and type of `like`."""
    if len(content) != like.nbytes:
        raise WrongState(f"vectors of the state must have {like.nbytes} bytes, got {len(content)}")
    stored = np.frombuffer(content, like.dtype.newbyteorder("<"))
    try:
        return checked(stored.reshape(like.shape).astype(like.dtype))
    except NoiseOutOfRange as error:
        raise WrongState(f"the state's {error}") from None
