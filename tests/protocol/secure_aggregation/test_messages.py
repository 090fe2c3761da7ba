"""Messages survive the wire, are what they say or nothing, and are as small as a phone's network wants them."""

import dataclasses
import secrets

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.secure_aggregation import messages, server
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.errors import WrongBundle, WrongSession
from protocol.secure_aggregation.group import Group
from protocol.secure_aggregation.masked_input import masked_input_bytes
from protocol.secure_aggregation.messages import GroupParameters, KeyBundle, decode, encode, session_id_of
from protocol.secure_aggregation.shamir import SHARE_BYTES
from protocol.secure_aggregation.shares import SEALED_BYTES
from protocol.secure_aggregation.signing import Task, confirms, sign_survivors
from protocol.secure_aggregation.sizing import size_group
from protocol.secure_aggregation.survivors import to_bitmap
from tests.protocol.secure_aggregation.cohort import make_task, make_terms

BYTES_32 = st.binary(min_size=32, max_size=32)
BYTES_64 = st.binary(min_size=64, max_size=64)
PARAMETERS = GroupParameters(degree=4, threshold=3, value_bits=12, vector_length=5)
BUNDLES = st.builds(
    KeyBundle,
    identity_key=BYTES_32,
    mask_key=BYTES_32,
    encryption_key=BYTES_32,
    self_mask_digest=BYTES_32,
    signature=BYTES_64,
)
INDICES = st.lists(st.integers(0, 65_535), max_size=5).map(tuple)
EVERY_MESSAGE = st.one_of(
    BUNDLES,
    st.builds(
        messages.Roster,
        parameters=st.just(PARAMETERS),
        digests=st.binary(min_size=32, max_size=99),
        neighbours=st.lists(BUNDLES, max_size=2).map(tuple),
    ),
    st.builds(messages.EncryptedShares, session_id=BYTES_32, sender=st.integers(0, 65_535), sealed=st.binary()),
    st.builds(messages.DeliveredShares, session_id=BYTES_32, sharers=st.binary(min_size=1), sealed=st.binary()),
    st.builds(messages.SurvivorList, session_id=BYTES_32, survivors=st.binary(min_size=1)),
    st.builds(messages.Confirmation, session_id=BYTES_32, sender=st.integers(0, 65_535), signature=BYTES_64),
    st.builds(messages.Confirmations, session_id=BYTES_32, senders=INDICES, signatures=st.binary()),
    st.builds(messages.UnmaskingShares, session_id=BYTES_32, sender=st.integers(0, 65_535), shares=st.binary()),
)
MESSAGE_TYPES = [
    messages.KeyBundle,
    messages.Roster,
    messages.EncryptedShares,
    messages.DeliveredShares,
    messages.SurvivorList,
    messages.Confirmation,
    messages.Confirmations,
    messages.UnmaskingShares,
]


@given(EVERY_MESSAGE)
def test_a_message_survives_the_wire_and_is_no_other(message):
    payload = encode(message)
    assert decode(payload, type(message)) == message
    for other in MESSAGE_TYPES:
        if other is not type(message):
            with pytest.raises(MalformedMessage, match=f"^not a valid {other.__name__}$"):
                decode(payload, other)


@given(st.binary(max_size=200), st.sampled_from(MESSAGE_TYPES))
def test_bytes_that_are_no_message_are_refused(payload, message_type):
    with pytest.raises(MalformedMessage):
        decode(payload, message_type)


@given(EVERY_MESSAGE)
def test_a_message_with_a_field_more_or_less_is_refused(message):
    fields = msgspec.msgpack.decode(encode(message))
    for wrong in ([*fields, 0], fields[:-1], [*fields[1:], fields[0]]):
        with pytest.raises(MalformedMessage):
            decode(msgspec.msgpack.encode(wrong), type(message))


@pytest.mark.parametrize(
    "wrong",
    [
        {"degree": 0},
        {"degree": 4097},
        {"threshold": 0},
        {"threshold": 5},
        {"value_bits": 7},
        {"value_bits": 33},
        {"vector_length": 0},
        {"vector_length": 2**28 + 1},
        {"degree": 4.0},
        {"degree": "4"},
    ],
)
def test_parameters_out_of_their_bounds_are_refused(wrong):
    fields = msgspec.msgpack.encode([*{**msgspec.structs.asdict(PARAMETERS), **wrong}.values()])
    with pytest.raises(MalformedMessage):
        decode(fields, GroupParameters)


def make_bundle(task=None, identity=None, **changes):
    keys = {"mask_key": bytes([9] + [0] * 31), "encryption_key": bytes([5] + [0] * 31), "self_mask_digest": bytes(32)}
    identity = identity or Ed25519PrivateKey.generate()
    return messages.sign_bundle(task or make_task(), identity=identity, **{**keys, **changes})


@pytest.mark.parametrize("name", ["identity_key", "mask_key", "encryption_key", "self_mask_digest", "signature"])
def test_a_bundle_is_signed_as_a_whole(name):
    bundle = make_bundle()
    bundle.verify(make_task())
    spoilt = bytearray(getattr(bundle, name))
    spoilt[3] ^= 16
    with pytest.raises(WrongBundle):
        msgspec.structs.replace(bundle, **{name: bytes(spoilt)}).verify(make_task())


@pytest.mark.parametrize("name", ["population", "round_id", "plan_sha256"])
def test_a_bundle_is_of_one_task(name):
    other = {"population": "demo-2", "round_id": "f" * 32, "plan_sha256": bytes(32)}
    with pytest.raises(WrongBundle):
        make_bundle().verify(msgspec.structs.replace(make_task(), **{name: other[name]}))


def test_what_names_a_session_is_all_of_its_roster():
    digests = [bytes([i] * 32) for i in range(4)]
    sessions = {session_id_of(make_task(), PARAMETERS, digests)}
    for name in ("degree", "threshold", "value_bits", "vector_length"):
        other = msgspec.structs.replace(
            PARAMETERS, **{name: getattr(PARAMETERS, name) + (-1 if name != "degree" else 2)}
        )
        sessions.add(session_id_of(make_task(), other, digests))
    sessions.add(session_id_of(make_task(2), PARAMETERS, digests))
    sessions.add(session_id_of(make_task(), PARAMETERS, digests[::-1]))
    sessions.add(session_id_of(make_task(), PARAMETERS, digests[:3]))
    assert len(sessions) == 8


def test_a_confirmation_is_of_one_session_and_one_pair_of_lists():
    identity = Ed25519PrivateKey.generate()
    public = identity.public_key().public_bytes_raw()
    signature = sign_survivors(identity, bytes(32), b"\x0f", b"\x07")
    assert confirms(signature, public, bytes(32), b"\x0f", b"\x07")
    assert not confirms(signature, public, bytes([1] * 32), b"\x0f", b"\x07")
    assert not confirms(signature, public, bytes(32), b"\x07", b"\x0f")
    assert not confirms(signature, bytes(32), bytes(32), b"\x0f", b"\x07")


def test_a_message_of_another_session_or_sender_is_refused():
    message = messages.EncryptedShares(session_id=bytes(32), sender=3, sealed=b"")
    messages.require_sender(message, bytes(32), 3)
    with pytest.raises(WrongSession):
        messages.require_sender(message, bytes([1] * 32), 3)
    with pytest.raises(MalformedMessage, match="must be 4, got 3"):
        messages.require_sender(message, bytes(32), 4)


def test_a_client_s_extra_bytes_at_a_thousand_members_are_under_50_kb():
    """Keys, roster, shares both ways, survivors, confirmations and unmasking, beside the packed vector itself."""
    terms = dataclasses.replace(make_terms(), value_bits=16, vector_length=1_422_250)
    size = size_group(1000, adversary_fraction=0.05, dropout_fraction=0.05)
    parameters = GroupParameters(**size._asdict(), value_bits=16, vector_length=1_422_250)
    device = Advertising(terms, Ed25519PrivateKey.generate(), secrets.token_bytes)
    _, own = device.advertise()
    bundles = [decode(own, KeyBundle), *(make_bundle(mask_key=secrets.token_bytes(32)) for _ in range(999))]
    members = tuple(sorted(bundles, key=KeyBundle.digest))
    group = Group(task=make_task(), parameters=parameters, least_survivors=3, bundles=members)
    index = members.index(bundles[0])
    degree, everybody, session = size.degree, frozenset(range(1000)), group.session_id
    sealed = dict.fromkeys(everybody, bytes(degree * SEALED_BYTES))
    own_shares = messages.EncryptedShares(session_id=session, sender=index, sealed=bytes(degree * SEALED_BYTES))
    signed = messages.Confirmation(session_id=session, sender=index, signature=bytes(64))
    unmasking = messages.UnmaskingShares(session_id=session, sender=index, shares=bytes(degree * SHARE_BYTES))
    sent = [own, encode(own_shares), encode(signed), encode(unmasking)]
    told = [
        server.roster_for(group, index),
        server.delivery_for(group, everybody, sealed, index),
        server.survivor_list(group, everybody),
        server.confirmations_for(group, dict.fromkeys(everybody, bytes(64)), index),
    ]
    header = masked_input_bytes(parameters) - 2 * 1_422_250
    assert len(to_bitmap(everybody, 1000)) == 125
    assert sum(map(len, sent)) + header < 5_000
    assert sum(map(len, sent + told)) + header < 50_000  # 1.8 % of the 2.84 MB that the vector takes


def test_a_task_s_context_has_a_fixed_length():
    assert {
        len(Task(population=name, round_id="0" * 32, plan_sha256=bytes(32)).context()) for name in ("a", "bcd")
    } == {80}
