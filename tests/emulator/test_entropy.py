"""A rehearsal's randomness follows its name, and the system's is back afterwards."""

import os
import secrets

from emulator.entropy import seeded_entropy


def draws():
    return secrets.token_hex(8), os.urandom(5), secrets.SystemRandom().random(), secrets.token_bytes(3)


def test_the_same_name_gives_the_same_draws_and_another_others():
    with seeded_entropy("a"):
        one = draws()
        more = draws()
    with seeded_entropy("a"):
        assert draws() == one
    with seeded_entropy("b"):
        assert draws() != one
    assert one != more


def test_the_systems_source_is_back_afterwards():
    before = os.urandom
    with seeded_entropy("a"):
        seeded = secrets.token_hex(16)
    assert os.urandom is before
    assert secrets.token_hex(16) != seeded
    with seeded_entropy("a"):
        assert secrets.token_hex(16) == seeded
