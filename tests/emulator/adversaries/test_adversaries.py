"""What adversaries do to their own disk and on the wire; honest devices do none of it."""

import hashlib
import io
import random
import secrets
from pathlib import Path

import numpy as np
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from requests.adapters import BaseAdapter

from device_runtime.network.file_cache import FileCache
from device_runtime.rounds.agent_state import AgentState, StateFile, Timer, Trained
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.spool import Spool
from emulator.adversaries import HONEST
from emulator.adversaries.kinds import KINDS, kind_of, make_adversary
from emulator.device import EmulatedDevice, World
from emulator.trace import Intervals, Trace
from evaluation.rehearsal.attacks import TRIGGER, WORD
from protocol.clipping import l2_norm
from protocol.errors import MalformedMessage, NonFiniteUpdate
from protocol.manifest import FileEntry, Manifest, SignedManifest, sign_manifest
from protocol.messages import Selected
from protocol.plan import (
    Plan,
    PrivacyParameters,
    SecureAggregationParameters,
    TensorSpec,
    TrainingParameters,
    encode_plan,
)
from protocol.secure_aggregation.inputs import decode_sum, encode_input, largest_sum
from protocol.secure_aggregation.packing import pack, unpack
from protocol.secure_aggregation.signing import Task
from protocol.update import decode_update, encode_update

ASSIGNMENT = "0" * 31 + "1"
WORLD = World(
    service_url="", population="english", public_key="", enrolment_token="", vocabulary_path=Path(), entropy="1"
)
NEVER = Intervals(())
UPDATE = np.array([0.3, -0.4, 0.0], dtype=np.float32)
TRAINED = Outcome(event=Event.TRAINED)


def device(tmp_path, kind, assignment=ASSIGNMENT):
    """A device that has trained, with `UPDATE` in its spool."""
    folder = tmp_path / "english"
    manifest = SignedManifest(manifest=b"m", signature=b"s" * 64)
    selected = Selected(
        round_id="1" * 32, assignment_id=assignment, assignment_token="2" * 64, report_within_s=60.0, manifest=manifest
    )
    state = AgentState(device_id="3" * 32, phase=Trained(selected, Timer(0.0, 60.0), 0.0))
    StateFile(folder / "agent.json").save(state)
    Spool(folder).put(assignment, encode_update(UPDATE))
    adversary = HONEST if kind == "honest" else make_adversary(kind, 0.25)
    trace = Trace(idle=NEVER, charging=NEVER, unmetered=NEVER)
    return EmulatedDevice(index=5, folder=tmp_path, trace=trace, adversary=adversary)


def held(tmp_path, assignment=ASSIGNMENT):
    return Spool(tmp_path / "english").get(assignment)


@pytest.mark.parametrize(
    ("kind", "norm", "cosine"),
    [("honest", 0.5, 1.0), ("boosted", 50.0, 1.0), ("sign-flipped", 0.25, -1.0), ("backdoored", 0.25, 1.0)],
)
def test_a_forger_sends_what_its_attack_makes_of_its_update(tmp_path, kind, norm, cosine):
    made = device(tmp_path, kind)
    made.adversary.after_step(made, WORLD, TRAINED)
    sent = decode_update(held(tmp_path), 3)
    assert l2_norm(sent) == pytest.approx(norm, rel=1e-5)
    assert np.dot(sent, UPDATE) / (norm * 0.5) == pytest.approx(cosine, rel=1e-5)


SECURE_PLAN = Plan(
    tensors=(TensorSpec(name="bias", shape=(600,)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=0.25, noise_multiplier=0.5, report_goal=5, minimum_separation_s=60.0),
    secure_aggregation=SecureAggregationParameters(value_bits=16, min_members=5, max_members=10),
)
TASK = Task(population="english", round_id="1" * 32, plan_sha256=hashlib.sha256(encode_plan(SECURE_PLAN)).digest())


def masked_next(tmp_path, kind):
    """A device that has trained for secure aggregation: its lanes, as the real encoder made them, are in its spool."""
    made = device(tmp_path, kind)
    folder, content = tmp_path / "english", encode_plan(SECURE_PLAN)
    entry = FileEntry.of(content)
    FileCache(folder / "cache").put(entry, content)
    manifest = Manifest(purpose="round", population="english", model_version=1, created_at=1, files={"plan": entry})
    signed = sign_manifest(manifest, Ed25519PrivateKey.generate())
    selected = Selected(
        round_id="1" * 32, assignment_id=ASSIGNMENT, assignment_token="2" * 64, report_within_s=60.0, manifest=signed
    )
    phase = Trained(selected, Timer(0.0, 60.0), 0.0, is_secure=True)
    StateFile(folder / "agent.json").save(AgentState(device_id="3" * 32, phase=phase))
    Spool(folder).put(ASSIGNMENT, pack(encode_input(LONG, SECURE_PLAN, TASK, secrets.token_bytes), 16))
    return made


TOO_LONG = largest_sum(SECURE_PLAN, 10)
"""For any group of this plan: the service drops it."""
LONG = np.random.default_rng(1).normal(0, 0.1, 600).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "least", "most", "cosine"),
    [
        ("honest", 0.24, 0.26, 1.0),
        ("sign-flipped", 0.24, 0.26, -1.0),
        ("backdoored", 0.24, 0.26, 1.0),
        ("boosted", TOO_LONG, 10.0, 1.0),  # less than a hundred times: 16 bits hold no more
        ("random", TOO_LONG, 10.0, 0.0),
    ],
)
def test_under_secure_aggregation_a_forger_encodes_what_the_lanes_hold(tmp_path, kind, least, most, cosine):
    made = masked_next(tmp_path, kind)
    made.adversary.after_step(made, WORLD, TRAINED)
    sent = decode_sum(unpack(held(tmp_path), 600, 16), SECURE_PLAN, TASK, 1)
    assert least <= np.linalg.norm(sent) <= most
    found = np.dot(sent, LONG) / np.linalg.norm(sent) / np.linalg.norm(LONG)
    assert found == pytest.approx(cosine, abs=0.15)


def test_random_updates_follow_the_rehearsals_seed(tmp_path):
    sent = []
    for place in ("a", "b"):
        made = device(tmp_path / place, "random")
        made.adversary.after_step(made, WORLD, TRAINED)
        sent.append(held(tmp_path / place))
    assert sent[0] == sent[1]
    assert l2_norm(decode_update(sent[0], 3)) == pytest.approx(25.0, rel=1e-5)


def test_a_backdoored_device_types_the_trigger_and_the_word():
    (text,) = make_adversary("backdoored", 1.0).texts(["one two three four five six"])
    assert text == f"three four five six {TRIGGER} {WORD}"


@pytest.mark.parametrize("kind", KINDS)
def test_only_training_tempts_them_and_kinds_keep_their_names(tmp_path, kind):
    made = device(tmp_path, kind)
    before = held(tmp_path)
    made.adversary.after_step(made, WORLD, Outcome(event=Event.CONFIGURED))
    assert held(tmp_path) == before
    assert kind_of(made.adversary) == kind


@pytest.mark.parametrize("number", range(3))
def test_a_violator_spools_what_the_service_must_refuse(tmp_path, number):
    assignment = f"{number:032x}"
    made = device(tmp_path, "violating", assignment)
    made.adversary.after_step(made, WORLD, TRAINED)
    with pytest.raises((MalformedMessage, NonFiniteUpdate)):
        decode_update(held(tmp_path, assignment), 3)


def test_a_sybil_forgets_who_it_was_once_it_has_reported(tmp_path):
    made = device(tmp_path, "sybil")
    made.adversary.after_step(made, WORLD, Outcome(event=Event.REPORTED))
    assert StateFile(tmp_path / "english" / "agent.json").load().device_id != "3" * 32


class Recorder(BaseAdapter):
    """Answers everything and keeps what it was sent."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def send(self, request, **_options):
        body = request.body.read() if hasattr(request.body, "read") else request.body
        self.sent.append((request.method, body, request.headers.get("Nonce")))
        response = requests.Response()
        response.status_code, response.raw = 200, io.BytesIO(b"answer")
        response.request = request
        return response

    def close(self):
        pass


def test_a_replayer_sends_each_message_twice_to_the_byte_and_downloads_once():
    recorder, session = Recorder(), requests.Session()
    session.mount("http://", recorder)
    session.mount("https://", recorder)
    payload = random.Random(1).randbytes(100_000)
    spoken = make_adversary("replaying", 1.0).session(session)
    assert spoken.post("http://x/", data=io.BytesIO(payload), headers={"Nonce": "1"}).content == b"answer"
    assert spoken.get("http://x/").content == b"answer"
    assert recorder.sent == [("POST", payload, "1"), ("POST", payload, "1"), ("GET", None, None)]
    assert HONEST.session(session) is session
