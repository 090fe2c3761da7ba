"""The witness reads what devices know off their own disks, and says who is stuck."""

import numpy as np
import pytest

from device_runtime.rounds.agent_state import AgentState, StateFile, Timer, Trained, Waiting
from device_runtime.rounds.outcome import Event, Outcome
from device_runtime.rounds.spool import Spool
from emulator.device import EmulatedDevice, StepResult
from emulator.soaking.witness import LATE_S, UNSERVED_S, Witness
from emulator.trace import Intervals, Trace
from protocol.manifest import SignedManifest
from protocol.messages import Selected
from protocol.plan import Plan, PrivacyParameters, TensorSpec, TrainingParameters
from protocol.update import encode_update

ALWAYS = Intervals(((0.0, 1e12),))
NOW = 1e6
PLAN = Plan(
    tensors=(TensorSpec(name="rows", shape=(3, 4)),),
    training=TrainingParameters(batch_size=4, sequence_length=5, local_epochs=1, learning_rate=0.5, max_words=100),
    privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=4, minimum_separation_s=0.0),
)
SELECTED = Selected(
    round_id="a" * 32,
    assignment_id="b" * 32,
    assignment_token="c" * 64,
    report_within_s=600.0,
    manifest=SignedManifest(manifest=b"{}", signature=b"0" * 64),
)
UPDATE = np.linspace(-0.1, 0.1, 12, dtype=np.float32)


@pytest.fixture
def device(tmp_path):
    return EmulatedDevice(index=5, folder=tmp_path, trace=Trace(idle=ALWAYS, charging=ALWAYS, unmetered=ALWAYS))


@pytest.fixture
def witness():
    return Witness(population="english", plan=PLAN)


def step(event, wait_s=0.0):
    outcome = Outcome(event=event, next_step_in_s=wait_s)
    return StepResult(outcome=outcome, elapsed_s=1.0, cpu_s=0.0, tensorflow_loaded=False)


def train(device):
    """Leaves on the disk what training does."""
    folder = device.folder / "english"
    Spool(folder).put(SELECTED.assignment_id, encode_update(UPDATE))
    phase = Trained(SELECTED, Timer(NOW, 600.0), 0.0)
    StateFile(folder / "agent.json").save(AgentState(device_id="d" * 32, phase=phase))


def rest(device):
    StateFile(device.folder / "english" / "agent.json").save(AgentState(device_id="d" * 32, phase=Waiting()))


def test_what_was_trained_is_kept_until_its_round_ends(device, witness):
    train(device)
    witness.see(device, NOW, step(Event.TRAINED))
    assert witness.of_round(SELECTED.round_id) == set()
    rest(device)
    witness.see(device, NOW + 5, step(Event.REPORTED, 60.0))
    assert witness.of_round(SELECTED.round_id) == {SELECTED.assignment_id}
    updates = witness.end_round(SELECTED.round_id)
    np.testing.assert_array_equal(updates[SELECTED.assignment_id], UPDATE)
    assert witness.updates == {}
    train(device)
    witness.see(device, NOW + 6, step(Event.TRAINED))  # of a round that has ended nothing is kept
    assert witness.updates == {}
    assert witness.events == {"trained": 2, "reported": 1}


def test_a_report_that_was_refused_is_not_acknowledged(device, witness):
    train(device)
    witness.see(device, NOW, step(Event.TRAINED))
    rest(device)
    witness.see(device, NOW + 5, step(Event.REJECTED, 60.0))
    assert witness.of_round(SELECTED.round_id) == set()


def test_a_device_has_until_its_wait_and_its_rounds_deadline_are_over(device, witness):
    rest(device)
    witness.see(device, NOW, step(Event.TOLD_TO_WAIT, 100.0))
    assert witness.stuck(NOW + 100 + LATE_S) == []
    train(device)
    witness.see(device, NOW + 100, step(Event.TRAINED))
    assert witness.stuck(NOW + 600 + LATE_S) == []
    (failure,) = witness.stuck(NOW + 600 + LATE_S + 1)
    assert failure == "device 5 must act within 900 s of its time, late by 901 s"


def test_one_that_was_late_and_moved_again_is_told_of_too(device, witness):
    rest(device)
    witness.see(device, NOW, step(Event.TOLD_TO_WAIT, 100.0))
    witness.see(device, NOW + 100 + LATE_S + 50, step(Event.TOLD_TO_WAIT, 100.0))
    (failure,) = witness.stuck(NOW + 100 + LATE_S + 51)
    assert failure == "device 5 must act within 900 s of its time, was late by 950 s"


def test_a_device_that_never_gets_an_answer_is_stuck_though_it_moves(device, witness):
    rest(device)
    for at in range(0, int(UNSERVED_S) + 3600, 1800):
        witness.see(device, NOW + at, step(Event.UNAVAILABLE, 1800.0))
    (failure,) = witness.stuck(NOW + UNSERVED_S + 3600)
    assert failure.startswith("a device must get an answer within 14400 s")


def test_an_answer_ends_the_wait_for_one(device, witness):
    rest(device)
    for at in range(0, 3 * int(UNSERVED_S), 1800):
        witness.see(device, NOW + at, step(Event.TOLD_TO_WAIT if at % 7200 == 0 else Event.UNAVAILABLE, 1800.0))
    assert witness.stuck(NOW + 3 * UNSERVED_S) == []
    assert witness.longest_unserved_s == 3600
