"""Messages survive the wire and nothing else passes for one."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.manifest import SignedManifest
from protocol.messages import (
    MAX_MESSAGE_BYTES,
    CheckIn,
    CheckInAnswer,
    ComeBack,
    Problem,
    Receipt,
    Selected,
    decode_message,
    encode_message,
)

HEX32 = st.text("0123456789abcdef", min_size=32, max_size=32)
HEX64 = st.text("0123456789abcdef", min_size=64, max_size=64)
SECONDS = st.floats(0, 366 * 24 * 3600)

MESSAGES = st.one_of(
    st.builds(
        CheckIn, device_id=HEX32, runtime=st.just("tflite-runtime 2.14.0"), num_examples=st.integers(0, 10_000_000)
    ),
    st.builds(
        Selected,
        round_id=HEX32,
        assignment_id=HEX32,
        assignment_token=HEX64,
        report_within_s=SECONDS,
        manifest=st.builds(
            SignedManifest,
            manifest=st.binary(max_size=200),
            signature=st.binary(min_size=64, max_size=64),
        ),
    ),
    st.builds(ComeBack, reconnect_after_s=SECONDS, reason=st.sampled_from(["no_task", "cohort_full"])),
    st.builds(Receipt, assignment_id=HEX32, reconnect_after_s=SECONDS),
    st.builds(Problem, type=st.text(), title=st.text(), status=st.integers(400, 599), detail=st.text()),
)


@given(MESSAGES)
def test_every_message_survives_the_wire(message):
    assert decode_message(encode_message(message), type(message)) == message


@given(MESSAGES.filter(lambda message: isinstance(message, Selected | ComeBack)))
def test_an_answer_says_which_it_is(answer):
    assert decode_message(encode_message(answer), CheckInAnswer) == answer


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_typed_error(payload):
    for kind in (CheckIn, CheckInAnswer, Receipt, Problem):
        with contextlib.suppress(MalformedMessage):
            decode_message(payload, kind)


def check_in(**changes):
    return json.dumps({"device_id": "0" * 32, "runtime": "x", "num_examples": 1, **changes}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        check_in(device_id="0" * 31),
        check_in(device_id="G" * 32),
        check_in(device_id="0" * 32 + "\n"),
        check_in(device_id=None),
        check_in(num_examples=-1),
        check_in(num_examples=1.5),
        check_in(num_examples="1"),
        check_in(runtime=""),
        check_in(runtime="x" * 65),
        check_in(protocol_version=2),
        check_in(surprise=1),
        b'{"runtime": "x", "num_examples": 1}',
        b"[]",
        b"",
        b"\xff\xfe",
        b"null",
        check_in(runtime="x" * MAX_MESSAGE_BYTES),
    ],
)
def test_what_is_out_of_bounds_is_refused(payload):
    decode_message(check_in(), CheckIn)
    with pytest.raises(MalformedMessage):
        decode_message(payload, CheckIn)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (CheckIn, check_in(device_id="secret-in-the-wrong-place")),
        (CheckIn, check_in(**{"secret\nlevel=ERROR": 1})),
        (CheckIn, check_in(secret=1)),
        (CheckIn, check_in(**{"x` - at `$.secret": 1})),
        (CheckInAnswer, b'{"kind": "secret"}'),
        (ComeBack, b'{"kind": "come_back", "reconnect_after_s": 1, "reason": "secret"}'),
        (CheckIn, b'"secret'),
    ],
)
def test_a_refusal_does_not_repeat_the_payload(kind, payload):
    with pytest.raises(MalformedMessage) as caught:
        decode_message(payload, kind)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_refusal_names_the_place():
    with pytest.raises(MalformedMessage, match=r"not a valid CheckIn \(at \$.num_examples\)"):
        decode_message(check_in(num_examples=-1), CheckIn)
