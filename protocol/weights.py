"""Weights as named tensors (a checkpoint file) and as one flat vector (an update)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from protocol.arrays import FloatArray
from protocol.errors import WrongContent
from protocol.plan import TensorSpec

Weights = dict[str, FloatArray]
"""Weights by name: float32 arrays of the shapes that the plan's `TensorSpec`s give."""


def encode_checkpoint(weights: Mapping[str, FloatArray]) -> bytes:
    """Writes `weights` as a safetensors file."""
    payload: bytes = safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in weights.items()})
    return payload


def encode_served(weights: Mapping[str, FloatArray]) -> bytes:
    """Writes `weights` as a safetensors file of float16 tensors: half as long, for devices to train from.

    Raises:
      WrongContent: a weight is beyond +-65504, the largest float16.

    """
    with np.errstate(over="ignore"):  # found below
        halves = {name: value.astype(np.float16) for name, value in weights.items()}
    for name, value in halves.items():
        if not np.isfinite(value).all():
            raise WrongContent(f"{name} must be within the range of float16, +-65504")
    payload: bytes = safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in halves.items()})
    return payload


def decode_checkpoint(payload: bytes, specs: Sequence[TensorSpec]) -> Weights:
    """Reads a safetensors file that must hold exactly the tensors of `specs`, float32 or float16, finite.

    Returns:
      float32 tensors; widening float16 is exact.

    Raises:
      WrongContent: not a safetensors file, or tensors that do not fit `specs`, or NaN or infinity in them.

    """
    try:
        loaded: dict[str, npt.NDArray[Any]] = safetensors.numpy.load(payload)
    except (safetensors.SafetensorError, KeyError, ValueError):
        # KeyError: safetensors meets a dtype that numpy does not have, such as bfloat16.
        raise WrongContent("checkpoint must be a safetensors file of float32 tensors") from None
    tensors = {name: _widened(value) for name, value in loaded.items()}
    check_weights(tensors, specs)
    return {spec.name: tensors[spec.name] for spec in specs}


def check_weights(weights: Mapping[str, npt.NDArray[np.generic]], specs: Sequence[TensorSpec]) -> None:
    """Checks that `weights` are exactly the finite float32 tensors of `specs`.

    Raises:
      WrongContent: a tensor is missing, unknown, of another shape or type, or not finite.

    """
    if set(weights) != {spec.name for spec in specs}:
        raise WrongContent(f"checkpoint must hold the plan's {len(specs)} tensors by name, got {len(weights)} others")
    for spec in specs:
        value = weights[spec.name]
        if value.dtype != np.float32 or value.shape != spec.shape:
            raise WrongContent(f"{spec.name} must be float32 {list(spec.shape)}, got {value.dtype} {list(value.shape)}")
        if not np.isfinite(value).all():
            raise WrongContent(f"{spec.name} must be finite")


def _widened(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def flatten(weights: Mapping[str, FloatArray], specs: Sequence[TensorSpec]) -> FloatArray:
    """Joins `weights` into float32 [num_weights], tensors in the order of `specs`."""
    return np.concatenate([weights[spec.name].ravel() for spec in specs])


def unflatten(vector: FloatArray, specs: Sequence[TensorSpec]) -> Weights:
    """Cuts float32 [num_weights] back into tensors: the inverse of `flatten`; the tensors are views of `vector`.

    Raises:
      WrongContent: the vector's length is not that of `specs`.

    """
    expected = sum(spec.size for spec in specs)
    if vector.shape != (expected,):
        raise WrongContent(f"vector must have {expected} elements, got shape {list(vector.shape)}")
    offsets = np.cumsum([spec.size for spec in specs])[:-1]
    return {spec.name: part.reshape(spec.shape) for spec, part in zip(specs, np.split(vector, offsets), strict=True)}
