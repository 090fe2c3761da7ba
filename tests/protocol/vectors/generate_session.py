"""Writes session.json: one whole session of seven members, and messages that one side or the other must refuse.

    PYTHONPATH=. python tests/protocol/vectors/generate_session.py

Members of `members` are numbered as listed; in messages they go by their index in the roster. `random` is what a device
draws, in order: its identity key, then what `random_bytes` is asked for. Member 2 is not heard of after stage 1,
member 5 not after stage 3. Nothing in it is random, so writing it again changes nothing.
"""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from protocol.secure_aggregation.messages import Confirmations, DeliveredShares, Roster, SurvivorList, decode, encode
from tests.protocol.secure_aggregation.cohort import CONFIRM, MASK, SHARE, UNMASK, Cohort, make_task, make_terms

VECTORS = Path(__file__).parent / "session.json"
NUM_MEMBERS, DEGREE, THRESHOLD, VALUE_BITS, VECTOR_LENGTH = 7, 4, 2, 12, 40
DROPPED = {(MASK, 2), (UNMASK, 5)}
WRONG = 0  # the member that is told what must be refused

Vector = dict[str, Any]


class Tape:
    """Bytes that look random, and a record of those that were asked for."""

    def __init__(self, name: str) -> None:
        self._stream = hashlib.shake_256(name.encode()).digest(4096)
        self.drawn = b""

    def __call__(self, num_bytes: int) -> bytes:
        drawn = self._stream[len(self.drawn) : len(self.drawn) + num_bytes]
        self.drawn += drawn
        return drawn


def make_cohort(name: str, number: int) -> tuple[Cohort, list[Tape]]:
    tapes = [Tape(f"{name} {member}") for member in range(NUM_MEMBERS)]
    terms = make_terms(task=make_task(number), value_bits=VALUE_BITS, vector_length=VECTOR_LENGTH)
    return Cohort(NUM_MEMBERS, terms, DEGREE, THRESHOLD, random_sources=tapes), tapes


def session() -> Vector:
    cohort, tapes = make_cohort("session", 1)
    outcome = cohort.run(DROPPED)
    task = cohort.terms.task
    return {
        "task": {**msgspec.structs.asdict(task), "plan_sha256": task.plan_sha256.hex()},
        "parameters": msgspec.structs.asdict(cohort.group.parameters),
        "session_id": cohort.group.session_id.hex(),
        "order": cohort.group.order,
        "members": [
            {
                "random": tapes[member].drawn.hex(),
                "values": cohort.values[member].tolist(),
                "index": cohort.index(member),
                "told": messages_of(cohort.to_device, member),
                "answers": messages_of(cohort.to_service, member),
            }
            for member in range(NUM_MEMBERS)
        ],
        "sum": outcome.tolist(),
        "refused": [*told_wrong(), *answered_wrong()],
    }


def messages_of(log: dict[tuple[int, int], bytes], member: int) -> dict[str, str]:
    return {str(stage): log[stage, member].hex() for stage in range(5) if (stage, member) in log}


def told_wrong() -> list[Vector]:
    """What `WRONG` is told, instead of what it should be, at each stage."""
    cohort, _ = make_cohort("session", 1)
    other, _ = make_cohort("session", 2)
    other.run(DROPPED)
    cohort.run(DROPPED)
    told = {stage: cohort.to_device[stage, WRONG] for stage in (SHARE, MASK, CONFIRM, UNMASK)}
    roster, delivery = decode(told[SHARE], Roster), decode(told[MASK], DeliveredShares)
    survivors, confirmations = decode(told[CONFIRM], SurvivorList), decode(told[UNMASK], Confirmations)
    first, second, *rest = roster.neighbours
    swapped = msgspec.structs.replace(first, mask_key=second.mask_key)
    weak = msgspec.structs.replace(roster.parameters, threshold=1)
    changes: list[tuple[str, int, Any, str]] = [
        ("another round's roster", SHARE, other.to_device[SHARE, WRONG], "WrongRoster"),
        ("bundles out of order", SHARE, {"digests": roster.digests[32:64] + roster.digests[:32]}, "WrongRoster"),
        ("a neighbour missing", SHARE, {"neighbours": (first, second, *rest[:-1])}, "WrongRoster"),
        ("a neighbour's key swapped", SHARE, {"neighbours": (swapped, second, *rest)}, "WrongRoster"),
        ("threshold below the floor", SHARE, {"parameters": weak}, "WeakParameters"),
        ("another round's shares", MASK, other.to_device[MASK, WRONG], "WrongSession"),
        ("a bad tag", MASK, {"sealed": delivery.sealed[:-1] + bytes([delivery.sealed[-1] ^ 1])}, "BadSeal"),
        ("a truncated share", MASK, {"sealed": delivery.sealed[:-1]}, "MalformedMessage"),
        ("only this member", MASK, {"sharers": bytes([1 << cohort.index(WRONG)]), "sealed": b""}, "WrongSurvivors"),
        ("another round's survivors", CONFIRM, other.to_device[CONFIRM, WRONG], "WrongSession"),
        ("one that had not shared", CONFIRM, {"survivors": b"\xff"}, "MalformedMessage"),
        ("two survivors", CONFIRM, {"survivors": b"\x03"}, "WrongSurvivors"),
        ("without this member", CONFIRM, without(survivors.survivors, cohort.index(WRONG)), "WrongSurvivors"),
        ("another round's confirmations", UNMASK, other.to_device[UNMASK, WRONG], "WrongSession"),
        ("a wrong signature", UNMASK, {"signatures": bytes(len(confirmations.signatures))}, "WrongSurvivors"),
        ("one confirmation", UNMASK, one_of(confirmations), "WrongSurvivors"),
        ("the stage before", UNMASK, told[CONFIRM], "MalformedMessage"),
    ]
    messages = {SHARE: roster, MASK: delivery, CONFIRM: survivors, UNMASK: confirmations}
    return [
        {
            "name": name,
            "told": WRONG,
            "stage": stage,
            "message": (wrong if isinstance(wrong, bytes) else changed(messages[stage], wrong)).hex(),
            "raises": error,
        }
        for name, stage, wrong, error in changes
    ]


def answered_wrong() -> list[Vector]:
    """What `WRONG` answers, instead of what it should, at each stage."""
    cohort, _ = make_cohort("session", 1)
    other, _ = make_cohort("session", 2)
    cohort.run(DROPPED)
    other.run(DROPPED)
    wrongs = []
    for stage in range(5):
        answer = cohort.to_service[stage, WRONG]
        for name, wrong, error in (
            ("another round's", other.to_service[stage, WRONG], "WrongSession" if stage else "WrongBundle"),
            ("another member's", cohort.to_service[stage, 1], "MalformedMessage" if stage else "WrongBundle"),
            ("truncated", answer[:-1], "MalformedMessage"),
            ("longer", answer + b"\x00", "MalformedMessage"),
        ):
            wrongs.append({"name": name, "answers": WRONG, "stage": stage, "message": wrong.hex(), "raises": error})
    return wrongs


def changed(message: Any, changes: dict[str, Any]) -> bytes:
    return encode(msgspec.structs.replace(copy.copy(message), **changes))


def without(bitmap: bytes, index: int) -> dict[str, Any]:
    return {"survivors": bytes([bitmap[0] & ~(1 << index)])}


def one_of(confirmations: Confirmations) -> dict[str, Any]:
    return {"senders": confirmations.senders[:1], "signatures": confirmations.signatures[:64]}


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(session(), indent=1) + "\n")
