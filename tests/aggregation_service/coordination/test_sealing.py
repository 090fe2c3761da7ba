"""Sealed sums open for their key, in their place, unchanged; and for nothing else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregation_service.coordination.sealing import NotSealed, RoundKey, seal


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_what_was_sealed_opens_for_its_key_and_context(plaintext: bytes, context: bytes) -> None:
    key = RoundKey()
    sealed = seal(key.public, plaintext, context)
    assert key.open(sealed, context) == plaintext
    assert len(sealed) == len(plaintext) + 48


def test_the_same_sum_is_never_sealed_the_same() -> None:
    key = RoundKey()
    first, second = (seal(key.public, bytes(64), b"") for _ in range(2))
    assert first != second
    assert bytes(64)[:16] not in bytes(first)


@pytest.mark.parametrize("context", [b"", b"round/worker/4", b"round/worker/3 "])
def test_no_sum_opens_in_another_place(context: bytes) -> None:
    key = RoundKey()
    with pytest.raises(NotSealed):
        key.open(seal(key.public, b"sum", b"round/worker/3"), context)


def test_no_other_key_opens_a_sum() -> None:
    with pytest.raises(NotSealed):
        RoundKey().open(seal(RoundKey().public, b"sum", b""), b"")


@given(st.integers(0, 59), st.integers(1, 255))
@example(31, 128)  # X25519 ignores the highest bit of a public key; the key derivation does not
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    key = RoundKey()
    sealed = seal(key.public, bytes(12), b"")
    sealed[place] ^= change
    with pytest.raises(NotSealed):
        key.open(sealed, b"")


@pytest.mark.parametrize("sealed", [b"", bytes(47), bytes(48), bytes(32) + bytes(40)])
def test_what_is_no_sealed_sum_is_refused(sealed: bytes) -> None:
    with pytest.raises(NotSealed):
        RoundKey().open(sealed, b"")
