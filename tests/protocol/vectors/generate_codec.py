"""Writes update_codec.json anew, after a change of the codec that is meant: `python generate_codec.py`.

The tests of rotation, quantisation and packing read it, and so may another implementation's. Floats are rounded to what
float32 holds; integers are those of one seed and one secret, and do not hang on the last bits of a float.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from protocol.lanes import lane_dtype
from protocol.quantisation import Quantiser
from protocol.rotation import rotate
from protocol.secure_aggregation.packing import pack

VECTORS = Path(__file__).parent / "update_codec.json"


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def heavy_tailed(length: int) -> np.ndarray:
    values = np.random.default_rng(length).standard_t(df=2.5, size=length)
    return (values * 0.01).round(6).astype(np.float32)


def rotations() -> list[dict[str, Any]]:
    cases = []
    for length in (1, 2, 3, 8, 40):
        update = heavy_tailed(length).astype(np.float64)
        secret = seed(f"rotation {length}")
        cases.append({"seed": secret.hex(), "update": update.tolist(), "rotated": rotate(update, secret).tolist()})
    return cases


def encodings() -> list[dict[str, Any]]:
    return [
        encoding("longer than C", heavy_tailed(40), l2_clip_norm=0.05, value_bits=12, max_cohort=128),
        encoding("shorter than C", heavy_tailed(40), l2_clip_norm=0.5, value_bits=16, max_cohort=1000),
        encoding("one coordinate", np.eye(1, 40, 7, np.float32)[0], l2_clip_norm=1.0, value_bits=12, max_cohort=32),
        encoding("few bits", heavy_tailed(5), l2_clip_norm=0.1, value_bits=8, max_cohort=30),
        encoding("many bits", heavy_tailed(9), l2_clip_norm=0.1, value_bits=32, max_cohort=1_000_000),
        encoding("room for noise", heavy_tailed(40), l2_clip_norm=0.1, value_bits=16, max_cohort=128, noise_room=9000),
        encoding("zero", np.zeros(6, np.float32), l2_clip_norm=0.1, value_bits=12, max_cohort=128),
        encoding("one weight", np.ones(1, np.float32), l2_clip_norm=0.1, value_bits=12, max_cohort=2),
    ]


def encoding(name: str, update: np.ndarray, **parameters: Any) -> dict[str, Any]:
    quantiser = Quantiser(vector_length=update.size, **parameters)
    rotation_seed, secret = seed(f"rotation {name}"), seed(f"rounding {name}")
    lanes = quantiser.encode(update, rotation_seed, lambda _: secret)
    for factor in (1 - 1e-6, 1 + 1e-6):  # a hundred times what float32 may differ by between machines
        again = quantiser.encode(update * np.float32(factor), rotation_seed, lambda _: secret)
        if not np.array_equal(again, lanes):
            raise SystemExit(f"take another seed for {name!r}: its integers hang on the last bits of a float")
    return {
        "name": name,
        "quantiser": {"vector_length": update.size, **parameters},
        "largest_value": quantiser.largest_value,
        "squared_bound": quantiser.squared_bound,
        "scale": quantiser.scale,
        "l2_bound": quantiser.l2_bound,
        "update": update.tolist(),
        "rotation_seed": rotation_seed.hex(),
        "rounding_secret": secret.hex(),
        "lanes": lanes.tolist(),
        "payload": pack(lanes, quantiser.value_bits).hex(),
        "decoded": quantiser.decode_sum(lanes, rotation_seed).tolist(),
    }


def packings() -> list[dict[str, Any]]:
    cases = []
    for value_bits in (8, 9, 12, 16, 21, 32):
        lanes = np.random.default_rng(value_bits).integers(0, 2**value_bits, 11, np.uint64)
        lanes = lanes.astype(lane_dtype(value_bits))
        lanes[-1] = 2**value_bits - 1
        cases.append({"value_bits": value_bits, "lanes": lanes.tolist(), "payload": pack(lanes, value_bits).hex()})
    return cases


def refused_payloads() -> list[dict[str, Any]]:
    good = pack(np.arange(3, dtype=lane_dtype(12)), 12)
    payloads = {
        "truncated": good[:-1],
        "too long": good + b"\0",
        "nothing": b"",
        "highest spare bit set": good[:-1] + bytes([good[-1] | 0x80]),
        "lowest spare bit set": good[:-1] + bytes([good[-1] | 0x10]),
    }
    return [
        {"why": why, "value_bits": 12, "length": 3, "payload": payload.hex()} for why, payload in payloads.items()
    ] + [{"why": "odd bytes of 16-bit values", "value_bits": 16, "length": 2, "payload": "000000"}]


def refused_updates() -> list[dict[str, Any]]:
    quantiser = {"l2_clip_norm": 0.1, "value_bits": 12, "max_cohort": 128, "vector_length": 3}
    return [
        {"quantiser": quantiser, "update": [0.01, value, 0.0], "error": "NonFiniteUpdate"}
        for value in ("nan", "inf", "-inf")
    ] + [{"quantiser": quantiser, "update": [0.01] * length, "error": "ValueError"} for length in (0, 2, 4)]


def refused_quantisers() -> list[dict[str, Any]]:
    good = {"l2_clip_norm": 0.1, "value_bits": 12, "max_cohort": 128, "vector_length": 40}
    changes: list[dict[str, Any]] = [
        {"l2_clip_norm": 0.0},
        {"l2_clip_norm": -1.0},
        {"l2_clip_norm": "nan"},
        {"l2_clip_norm": "inf"},
        {"value_bits": 7},
        {"value_bits": 33},
        {"max_cohort": 0},
        {"max_cohort": 2048},
        {"vector_length": 0},
        {"noise_room": -1},
        {"noise_room": 1920},
    ]
    return [{**good, **change} for change in changes]


def main() -> None:
    vectors = {
        "rotate": rotations(),
        "encode": encodings(),
        "encode_refused": refused_updates(),
        "quantiser_refused": refused_quantisers(),
        "pack": packings(),
        "unpack_refused": refused_payloads(),
    }
    lines = ",\n".join(
        f'"{name}": [\n' + ",\n".join(f"  {json.dumps(case)}" for case in cases) + "\n]"
        for name, cases in vectors.items()
    )
    VECTORS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
