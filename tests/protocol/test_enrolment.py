from typing import Any

import pytest

from protocol.enrolment import MAX_VERDICT_BYTES, Enrol, request_hash
from protocol.errors import MalformedMessage
from protocol.messages import decode_message, encode_message

GOOD: dict[str, Any] = {"device_id": "ab" * 16, "public_key": "cd" * 32}
MEMBERS = ("english", "ab" * 16, "cd" * 32)


@pytest.mark.parametrize("proof", [{}, {"token": "e" * 64}, {"attestation": "a.b.c"}])
def test_an_enrolment_travels(proof: dict[str, str]) -> None:
    message = Enrol(**GOOD, **proof)
    assert decode_message(encode_message(message), Enrol) == message


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": "ab"},
        {"public_key": "cd" * 31},
        {"public_key": "CD" * 32},
        {"token": "e" * 63},
        {"token": 5},
        {"attestation": "a" * (MAX_VERDICT_BYTES + 1)},
    ],
)
def test_a_value_out_of_its_bound_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(encode_message(Enrol(**(GOOD | change))), Enrol)


def test_a_verdict_is_bound_to_each_of_population_device_and_key() -> None:
    hashes = {request_hash(*MEMBERS)}
    for place, other in enumerate(("english-2", "ba" * 16, "dc" * 32)):
        hashes.add(request_hash(*(other if index == place else member for index, member in enumerate(MEMBERS))))
    assert len(hashes) == 4


def test_the_hash_stays_what_apps_compute() -> None:
    assert request_hash(*MEMBERS) == "c71387c5c4abb440bf315593e51b7dc8a54356f796d9384c785d04c509e997d9"
