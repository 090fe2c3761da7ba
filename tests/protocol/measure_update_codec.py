"""Prints what the update codec costs and loses at full size, as docs/update-codec.md quotes it (three minutes).

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=. python tests/protocol/measure_update_codec.py

Updates are drawn in the likeness of real ones: a direction that the cohort shares, rows of the embedding that a device
happened to train, heavy tails. The hardest two put all weight in one coordinate, or in one part of the vector.
"""

import math
import secrets
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from protocol.clipping import clip_to_norm
from protocol.lanes import lane_dtype, signed_values
from protocol.quantisation import Quantiser
from protocol.rotation import block_size, rotate, unrotate
from protocol.secure_aggregation.packing import pack, packed_bytes, unpack

NUM_WEIGHTS = 1_422_250
ROWS, COLUMNS = 10_000, 97  # the embedding, which comes first
L2_CLIP_NORM = 0.5
SEED = bytes(range(32))

Draw = Callable[[np.random.Generator], np.ndarray]


class Loss(NamedTuple):
    """What became of a cohort's sum.

    Attributes:
      relative_error: L2 norm of decoded minus exact sum, relative to the exact one.
      error_in_clip_norms: the same norm in units of C.
      bias: part of the error along the exact sum, relative to that.
      bounded: values of the scaled updates beyond the largest value, of all.

    """

    relative_error: float
    error_in_clip_norms: float
    bias: float
    bounded: float


def likely(generator: np.random.Generator) -> np.ndarray:
    """Rows of words that the device typed, by Zipf's law, and dense layers with heavy tails, around a shared move."""
    shared = np.random.default_rng(1).standard_t(df=3, size=NUM_WEIGHTS).astype(np.float32)
    update = generator.standard_t(df=3, size=NUM_WEIGHTS).astype(np.float32)
    update += 0.5 * shared
    counts = np.bincount(generator.zipf(1.2, 2000).clip(max=ROWS) - 1, minlength=ROWS)
    update[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)[:] *= np.sqrt(counts)[:, None].astype(np.float32)
    return update


def independent(generator: np.random.Generator) -> np.ndarray:
    """Every weight of every device on its own: the sum is as short as sums can be."""
    return generator.standard_normal(NUM_WEIGHTS, np.float32)


def one_coordinate(_: np.random.Generator) -> np.ndarray:
    """The same single weight of every device."""
    return np.eye(1, NUM_WEIGHTS, 1000, dtype=np.float32)[0]


def one_part(generator: np.random.Generator) -> np.ndarray:
    """Only weights that the second transform alone spreads, a quarter of all."""
    update = np.zeros(NUM_WEIGHTS, np.float32)
    update[block_size(NUM_WEIGHTS) :] = generator.standard_normal(NUM_WEIGHTS - block_size(NUM_WEIGHTS), np.float32)
    return update


def measure_loss(draw: Draw, cohort: int, quantiser: Quantiser) -> Loss:
    exact = np.zeros(NUM_WEIGHTS)
    total = np.zeros(NUM_WEIGHTS, lane_dtype(quantiser.value_bits))
    at_bound = 0
    for index in range(cohort):
        update = clip_to_norm(draw(np.random.default_rng([7, index])), L2_CLIP_NORM).update
        exact += update
        total += quantiser.encode(update, SEED, secrets.token_bytes)
        if index < 32:
            scaled = np.abs(rotate(update, SEED)) * quantiser.scale
            at_bound += np.count_nonzero(scaled > quantiser.largest_value)
    error = quantiser.decode_sum(total, SEED) - exact
    norm = float(np.linalg.norm(exact))
    return Loss(
        float(np.linalg.norm(error)) / norm,
        float(np.linalg.norm(error)) / L2_CLIP_NORM,
        float(error @ exact) / norm**2,
        at_bound / (min(cohort, 32) * NUM_WEIGHTS),
    )


def print_sizes() -> None:
    show("| cohort | b | bytes | largest value | bound / C | error of one update / C |\n|---|---|---|---|---|---|\n")
    for cohort, value_bits in ((32, 10), (32, 12), (128, 12), (128, 16), (1000, 14), (1000, 16), (10_000, 20)):
        quantiser = quantiser_for(cohort, value_bits)
        show(f"| {cohort} | {value_bits} | {packed_bytes(NUM_WEIGHTS, value_bits):,} | {quantiser.largest_value} ")
        error = math.sqrt(NUM_WEIGHTS / 6) / quantiser.scale / L2_CLIP_NORM
        show(f"| {quantiser.l2_bound / L2_CLIP_NORM:.4f} | {error:.4f} |\n")


def print_losses() -> None:
    show("\n| added of cohort | b | updates | error / norm of sum | error / C | bias | bounded |\n")
    show("|---|---|---|---|---|---|---|\n")
    for cohort, value_bits in ((128, 12), (1000, 16)):
        for draw in (likely, independent, one_coordinate, one_part):
            counted = cohort if draw is likely else min(cohort, 128)
            loss = measure_loss(draw, counted, quantiser_for(cohort, value_bits))
            show(f"| {counted} of {cohort} | {value_bits} | {draw.__name__.replace('_', ' ')} ")
            show(f"| {loss.relative_error:.2%} | {loss.error_in_clip_norms:.3f} ")
            show(f"| {loss.bias:+.1e} | {loss.bounded:.1e} |\n")


def print_costs() -> None:
    update = likely(np.random.default_rng(0))
    quantiser = quantiser_for(128, 12)
    lanes = quantiser.encode(update, SEED, secrets.token_bytes)
    payload, rotated = pack(lanes, 12), rotate(update.astype(np.float64), SEED)
    show("\n| step | ms | MB beyond input |\n|---|---|---|\n")
    steps: dict[str, Callable[[], object]] = {
        "device: rotate": lambda: rotate(update, SEED),
        "device: encode, clip and rotation included": lambda: quantiser.encode(update, SEED, secrets.token_bytes),
        "device: pack 12 bits": lambda: pack(lanes, 12),
        "service: unpack 12 bits": lambda: unpack(payload, NUM_WEIGHTS, 12),
        "service: signed values": lambda: signed_values(lanes, 12),
        "service: unrotate in float64": lambda: unrotate(rotated, SEED),
        "service: decode the sum": lambda: quantiser.decode_sum(lanes, SEED),
    }
    for name, step in steps.items():
        show(f"| {name} | {1000 * processor_seconds(step):.1f} | {peak_megabytes(step):.1f} |\n")


def quantiser_for(cohort: int, value_bits: int) -> Quantiser:
    return Quantiser(l2_clip_norm=L2_CLIP_NORM, value_bits=value_bits, max_cohort=cohort, vector_length=NUM_WEIGHTS)


def processor_seconds(step: Callable[[], object]) -> float:
    """The median of seven, of all threads together."""
    taken = []
    for _ in range(7):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    return sorted(taken)[3]


def peak_megabytes(step: Callable[[], object]) -> float:
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    print_sizes()
    print_costs()
    print_losses()
