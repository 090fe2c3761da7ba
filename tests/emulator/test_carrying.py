"""A device packed, unpacked and sent on an errand: nothing of it is lost, and a step elsewhere is a step here."""

import dataclasses
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.rounds.outcome import Event
from emulator.carrying import Changes, Errand, File, apply, changes_between, read_disk, run_errand
from emulator.device import EmulatedDevice, World, make_device, run_step
from emulator.trace import Intervals, Trace
from tokenizer.text import PUNCTUATION
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import NUM_SPECIAL

NOW = 1_767_571_200.0
ALWAYS = Intervals(((0.0, 2 * NOW),))
NAMES = st.sampled_from(
    ["typing_log.sqlite", "english/agent.json", "english/spool.key", "english/files/ab12", "activity"]
)
DISKS = st.dictionaries(NAMES, st.builds(File, st.binary(max_size=64), st.integers(1, 2**60)))


@given(DISKS, DISKS)
def test_changes_lead_from_any_disk_to_any_other(before, after):
    with TemporaryDirectory() as name:
        folder = Path(name) / "disk"
        apply(Changes(before, frozenset()), folder)
        assert read_disk(folder) == before
        apply(changes_between(before, after), folder)
        assert read_disk(folder) == after


@given(DISKS)
def test_what_stays_the_same_does_not_travel_back(disk):
    assert changes_between(disk, dict(disk)) == Changes({}, frozenset())


def test_a_disk_that_is_not_there_yet_is_an_empty_one(tmp_path):
    assert read_disk(tmp_path / "absent") == {}


def test_only_the_devices_owner_may_read_what_was_unpacked(tmp_path):
    apply(Changes({"english/spool.key": File(b"secret", 1)}, frozenset()), tmp_path / "disk")
    assert (tmp_path / "disk/english/spool.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "disk/english").stat().st_mode & 0o077 == 0


def test_the_agents_state_is_written_after_all_that_it_speaks_of(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr("emulator.carrying.write_atomically", lambda path, content, **_: order.append(path.name))
    monkeypatch.setattr("emulator.carrying.os.utime", lambda *_, **__: None)
    names = ["english/agent.json", "english/update.sealed", "typing_log.sqlite", "a"]
    random.Random(1).shuffle(names)
    apply(Changes({name: File(b"", 1) for name in names}, frozenset()), tmp_path)
    assert order[-1] == "agent.json"
    assert len(order) == 4


@pytest.fixture(scope="module")
def vocabulary():
    words = ["alpha", "beta", "gamma"]
    return train_vocabulary(dict.fromkeys(words, 1.0), NUM_SPECIAL + len(PUNCTUATION) + len(words))


def test_a_step_elsewhere_is_a_step_here(tmp_path, vocabulary):
    """With a service that does not answer: what the step writes is the agent's own."""
    vocabulary_path = tmp_path / "vocabulary.model"
    vocabulary_path.write_bytes(vocabulary)
    world = World(
        service_url="http://127.0.0.1:9",
        population="english",
        public_key="00" * 32,
        enrolment_token="00" * 32,
        vocabulary_path=vocabulary_path,
        entropy="1",
    )
    here = EmulatedDevice(
        index=3, folder=tmp_path / "here", trace=Trace(idle=ALWAYS, charging=ALWAYS, unmetered=ALWAYS)
    )
    make_device(here, ["one two three", "four five"], now=NOW)
    there = dataclasses.replace(here, folder=tmp_path / "there")
    apply(Changes(dict(read_disk(here.folder)), frozenset()), there.folder)
    stayed = run_step(world, here, now=NOW, may_refresh=False)
    returned, changes = run_errand(Errand.of(world, there, NOW, None), vocabulary)
    assert not {name for name in changes.written if "sqlite" in name and name.endswith("wal")}
    apply(changes, there.folder)
    assert returned.outcome == stayed.outcome
    assert returned.outcome.event in (Event.UNAVAILABLE, Event.ENROLLED)
    assert returned.elapsed_s == stayed.elapsed_s
    mine, theirs = read_disk(here.folder), read_disk(there.folder)
    assert mine.keys() == theirs.keys()
    assert mine["english/agent.json"].content == theirs["english/agent.json"].content
