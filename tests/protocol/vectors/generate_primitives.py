"""Writes primitives.json: what Shamir's sharing, key agreement, sealed shares and masks give, and what they refuse.

    PYTHONPATH=. python tests/protocol/vectors/generate_primitives.py

Nothing in it is random, so writing it again changes nothing. Numbers in hexadecimal are bytes as they travel.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocol.lanes import LaneArray, lane_dtype
from protocol.secure_aggregation.keys import Purpose, agree, key_pair
from protocol.secure_aggregation.masks import add_mask
from protocol.secure_aggregation.shamir import PRIME, SHARE_BYTES, split
from protocol.secure_aggregation.shares import NeighbourShares, seal

Vector = dict[str, Any]

FIELD_PRIME = 2**255 - 19
SESSION_ID = hashlib.sha256(b"session").digest()
OTHER_SESSION_ID = hashlib.sha256(b"session of the next round").digest()
LOW_ORDER_U = {  # every one of them; agreeing with it gives zero, whatever the private key
    "order 4": 0,
    "order 1": 1,
    "order 8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "order 8, the other": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    "order 2": FIELD_PRIME - 1,
}


def drawn(name: str, num_bytes: int) -> bytes:
    """Bytes that look random and always are the same."""
    return hashlib.shake_256(name.encode()).digest(num_bytes)


def shamir() -> dict[str, list[Vector]]:
    good = [
        shared("three of five", threshold=3, points=[1, 2, 3, 4, 5]),
        shared("all of two, far points", threshold=2, points=[4_294_967_296, 7]),
        shared("one is enough", threshold=1, points=[9, 8]),
        shared("largest secret", threshold=2, points=[1, 1000], secret=b"\xff" * 32),
        shared("smallest secret", threshold=2, points=[1, 1000], secret=bytes(32)),
    ]
    shares = good[0]["shares"]
    too_long = {str(x): ((2**256 + x) % PRIME).to_bytes(SHARE_BYTES, "big").hex() for x in (1, 2, 3)}
    bad = [
        {"name": "two of three", "threshold": 3, "shares": dict(list(shares.items())[:2]), "raises": "TooFewShares"},
        {"name": "truncated share", "threshold": 3, "shares": shares | {"2": shares["2"][:-2]}, "raises": "BadShare"},
        {"name": "longer share", "threshold": 3, "shares": shares | {"2": "00" + shares["2"]}, "raises": "BadShare"},
        {"name": "empty share", "threshold": 3, "shares": shares | {"1": ""}, "raises": "BadShare"},
        {"name": "the prime", "threshold": 3, "shares": shares | {"3": f"{PRIME:066x}"}, "raises": "BadShare"},
        {"name": "not a field element", "threshold": 3, "shares": shares | {"1": "ff" * 33}, "raises": "BadShare"},
        {"name": "longer secret", "threshold": 2, "shares": too_long, "raises": "BadShare"},
    ]
    return {"good": good, "bad": bad}


def shared(name: str, *, threshold: int, points: list[int], secret: bytes | None = None) -> Vector:
    secret = drawn(f"secret of {name}", 32) if secret is None else secret
    randomness = drawn(f"coefficients of {name}", 49 * (threshold - 1))
    shares = split(secret, threshold, points, lambda _: randomness)
    return {
        "name": name,
        "secret": secret.hex(),
        "threshold": threshold,
        "random": randomness.hex(),
        "shares": {str(point): share.hex() for point, share in zip(points, shares, strict=True)},
    }


def keys() -> dict[str, list[Vector]]:
    good = [agreed(purpose, session_id) for purpose in Purpose for session_id in (SESSION_ID, OTHER_SESSION_ID)]
    bad = [
        {"name": f"point of {name}", "public": u.to_bytes(32, "little").hex()} for name, u in LOW_ORDER_U.items()
    ] + [
        {"name": "base point, not in canonical form", "public": (FIELD_PRIME + 9).to_bytes(32, "little").hex()},
        {"name": "base point with the unused bit", "public": (2**255 + 9).to_bytes(32, "little").hex()},
        {"name": "order 4, not in canonical form", "public": FIELD_PRIME.to_bytes(32, "little").hex()},
        {"name": "truncated", "public": good[0]["publics"][0][:-2]},
        {"name": "too long", "public": good[0]["publics"][0] + "00"},
        {"name": "empty", "public": ""},
    ]
    return {"good": good, "bad": [vector | {"raises": "BadPoint"} for vector in bad]}


def agreed(purpose: Purpose, session_id: bytes) -> Vector:
    pairs = [key_pair(drawn(f"private key of {member}", 32)) for member in ("Alice", "Bob")]
    exchanged = X25519PrivateKey.from_private_bytes(pairs[0].private).exchange(
        X25519PublicKey.from_public_bytes(pairs[1].public)
    )
    return {
        "name": f"{purpose.name.lower()}, session {session_id.hex()[:8]}",
        "privates": [pair.private.hex() for pair in pairs],
        "publics": [pair.public.hex() for pair in pairs],
        "purpose": purpose.name,
        "session_id": session_id.hex(),
        "x25519": exchanged.hex(),
        "agreed": agree(pairs[0], pairs[1].public, purpose, session_id).hex(),
    }


def sealed_shares() -> dict[str, list[Vector]]:
    good = [sealed("there", sender=3, receiver=7), sealed("and back", sender=7, receiver=3)]
    good.append(sealed("largest index", sender=0, receiver=2**32 - 1))
    there = {name: good[0][name] for name in ("key", "session_id", "sender", "receiver", "sealed")}
    octets = bytes.fromhex(there["sealed"])
    changes: dict[str, Vector] = {
        "bad tag": {"sealed": (octets[:-1] + bytes([octets[-1] ^ 1])).hex()},
        "changed share": {"sealed": (octets[:40] + bytes([octets[40] ^ 128]) + octets[41:]).hex()},
        "changed nonce": {"sealed": (bytes([octets[0] ^ 1]) + octets[1:]).hex()},
        "truncated": {"sealed": octets[:-1].hex()},
        "longer": {"sealed": octets.hex() + "00"},
        "empty": {"sealed": ""},
        "wrong round": {"session_id": OTHER_SESSION_ID.hex()},
        "sent by another": {"sender": 4},
        "meant for another": {"receiver": 8},
        "sent back": {"sender": 7, "receiver": 3},
        "key of others": {"key": drawn("key of others", 32).hex()},
    }
    bad = [{"name": name} | there | change | {"raises": "BadSeal"} for name, change in changes.items()]
    return {"good": good, "bad": bad}


def sealed(name: str, *, sender: int, receiver: int) -> Vector:
    key, nonce = drawn("key of 3 and 7", 32), drawn(f"nonce of {name}", 12)
    shares = NeighbourShares(b"\x00" + drawn(f"{name}, seed", 32), b"\x00" + drawn(f"{name}, private key", 32))
    octets = seal(shares, key, session_id=SESSION_ID, sender=sender, receiver=receiver, random_bytes=lambda _: nonce)
    return {
        "name": name,
        "key": key.hex(),
        "session_id": SESSION_ID.hex(),
        "sender": sender,
        "receiver": receiver,
        "nonce": nonce.hex(),
        "self_mask_seed": shares.self_mask_seed.hex(),
        "mask_private_key": shares.mask_private_key.hex(),
        "sealed": octets.hex(),
    }


def masks() -> dict[str, list[Vector]]:
    good = [masked(lane_bits, signs) for lane_bits in (8, 16, 32) for signs in ([1], [-1], [1, -1, 1])]
    seed = good[0]["masks"][0]["seed"]
    bad = [
        {"name": "truncated seed", "seed": seed[:-2]},
        {"name": "longer seed", "seed": seed + "00"},
        {"name": "empty seed", "seed": ""},
    ]
    return {"good": good, "bad": [vector | {"raises": "ValueError"} for vector in bad]}


def masked(lane_bits: int, signs: list[int]) -> Vector:
    before = drawn(f"lanes of {lane_bits} bits", 40 * lane_bits // 8)
    seeds = [drawn(f"seed {i}", 32) for i in range(len(signs))]
    total: LaneArray = np.frombuffer(before, lane_dtype(lane_bits)).copy()
    for seed, sign in zip(seeds, signs, strict=True):
        add_mask(total, seed, sign=1 if sign == 1 else -1)
    return {
        "name": f"{lane_bits} bits, {signs}",
        "lane_bits": lane_bits,
        "lanes": before.hex(),
        "masks": [{"seed": seed.hex(), "sign": sign} for seed, sign in zip(seeds, signs, strict=True)],
        "masked": total.tobytes().hex(),
    }


def main() -> None:
    vectors = {"shamir": shamir(), "keys": keys(), "sealed_shares": sealed_shares(), "masks": masks()}
    target = Path(__file__).with_name("primitives.json")
    target.write_text(json.dumps(vectors, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
