"""What adversaries do to their own disk and on the wire; honest devices do none of it."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import requests
from requests.adapters import BaseAdapter

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
from protocol.manifest import SignedManifest
from protocol.messages import Selected
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
