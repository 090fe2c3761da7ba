"""A service that lies: the truth passes untouched, and what is changed no device follows."""

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emulator.lying_service import (
    LIES,
    LyingService,
    tell,
    with_another_signature,
    with_keys_of_its_own,
    with_threshold_one,
)
from protocol.errors import WrongSignature
from protocol.manifest import FileEntry, Manifest, open_manifest, sign_manifest
from protocol.messages import ComeBack, Selected, decode_message, encode_message
from protocol.secure_aggregation import server
from protocol.secure_aggregation.client import Advertising
from protocol.secure_aggregation.errors import WeakParameters, WrongBundle, WrongRoster
from protocol.secure_aggregation.membership import Terms
from protocol.secure_aggregation.messages import GroupParameters, Roster, decode
from protocol.secure_aggregation.signing import Task
from protocol.secure_aggregation.sizing import size_group

COMPLETE, RING = 7, 9
"""Members of a group in which all are neighbours, and of one in which they are not."""
TASK = Task(population="en-gb", round_id="a" * 32, plan_sha256=bytes(32))
TERMS = Terms(
    task=TASK, value_bits=16, vector_length=8, min_members=5, max_members=10, adversary_fraction=0.05,
    dropout_fraction=0.2, mode="semi_malicious",
)  # fmt: skip


@pytest.fixture(params=[COMPLETE, RING])
def group(request):
    """Each member's next stage and the roster that it is told, by the real service's side."""
    members = request.param
    size = size_group(members, adversary_fraction=0.05, dropout_fraction=0.2, mode="semi_malicious")
    parameters = GroupParameters(degree=size.degree, threshold=size.threshold, value_bits=16, vector_length=8)
    stages, bundles = {}, []
    for _ in range(members):
        identity = Ed25519PrivateKey.generate()
        public = identity.public_key().public_bytes_raw()
        stages[public], keys = Advertising(TERMS, identity, secrets.token_bytes).advertise()
        bundles.append(server.accept_bundle(keys, TASK, public))
    formed = server.form_group(TASK, parameters, TERMS.least_survivors(members), bundles)
    return [(stage, server.roster_for(formed, formed.index_of(public))) for public, stage in stages.items()]


def test_the_truth_is_followed(group):
    for stage, roster in group:
        stage.share(roster)


@pytest.mark.parametrize(
    ("lie", "refusal"),
    [(with_keys_of_its_own, (WrongBundle, WrongRoster)), (with_threshold_one, WeakParameters)],
)
def test_no_member_follows_a_changed_roster(group, lie, refusal):
    for stage, roster in group:
        with pytest.raises(refusal):
            stage.share(lie(roster))


@pytest.mark.parametrize(("group", "refusal"), [(COMPLETE, WrongBundle), (RING, WrongRoster)], indirect=["group"])
def test_why_changed_keys_are_refused_follows_from_the_graph_alone(group, refusal):
    """Reports of rehearsals count refusals by why, and are the same for the same seed; keys are not."""
    for stage, roster in group:
        with pytest.raises(refusal):
            stage.share(with_keys_of_its_own(roster))


@pytest.mark.parametrize("group", [COMPLETE], indirect=True)
def test_keys_of_its_own_are_well_hidden(group):
    """All that a device could hold against the roster but the signature is in order."""
    _, roster = group[0]
    before, after = decode(roster, Roster), decode(with_keys_of_its_own(roster), Roster)
    assert {each.identity_key for each in after.neighbours} == {each.identity_key for each in before.neighbours}
    digests = [after.digests[place : place + 32] for place in range(0, len(after.digests), 32)]
    assert digests == sorted(digests)
    assert {each.digest() for each in after.neighbours} < set(digests)
    assert sum(each not in before.neighbours for each in after.neighbours) == 1


def test_another_signature_is_not_the_services():
    key = Ed25519PrivateKey.generate()
    manifest = Manifest(
        purpose="round", population="en-gb", model_version=1, created_at=1, files={"plan": FileEntry.of(b"plan")}
    )
    selected = Selected(
        round_id="a" * 32, assignment_id="b" * 32, assignment_token="c" * 64, report_within_s=60.0,
        manifest=sign_manifest(manifest, key),
    )  # fmt: skip
    lied = decode_message(with_another_signature(encode_message(selected)), Selected)
    for answer, is_refused in ((selected, False), (lied, True)):
        try:
            open_manifest(answer.manifest, key.public_key(), purpose="round", population="en-gb", minimum_version=0)
        except WrongSignature:
            assert is_refused
        else:
            assert not is_refused
    come_back = encode_message(ComeBack(reconnect_after_s=5.0, reason="no_round"))
    assert with_another_signature(come_back) == come_back


def asked(app, path):
    """Status, headers and body of an answer."""
    told = []
    body = b"".join(app({"PATH_INFO": path}, lambda status, headers: told.extend([status, dict(headers)])))
    return *told, body


@pytest.mark.parametrize("lie", LIES)
def test_only_answers_that_the_lie_is_about_are_changed(tmp_path, monkeypatch, lie):
    monkeypatch.setitem(LIES, lie, LIES[lie]._replace(change=lambda body: body + b" or not"))
    said = {"status": "200 OK"}

    def service(_environ, start_response):
        start_response(said["status"], [("Content-Length", "4"), ("X", "y")])
        return [b"so", b" so"[:2]]

    app, about = LyingService(service, tmp_path / "lie"), "/v1/anything" + LIES[lie].about
    truth = ("200 OK", {"Content-Length": "4", "X": "y"}, b"so s")
    assert asked(app, about) == truth
    tell(tmp_path / "lie", lie)
    assert asked(app, about) == ("200 OK", {"Content-Length": "11", "X": "y"}, b"so s or not")
    assert asked(app, "/v1/other") == truth
    said["status"] = "202 ACCEPTED"
    assert asked(app, about) == ("202 ACCEPTED", *truth[1:])
    tell(tmp_path / "lie", None)
    said["status"] = "200 OK"
    assert asked(app, about) == truth
