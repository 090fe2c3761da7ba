"""A discovery of new words from end to end: real agents, a real service in its own process over HTTP, masked sums.

Eight devices typed a word that no vocabulary has, and each one a word of its own besides. The first comes out; of the
others not even a beginning does.
"""

import heapq
import itertools
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from aggregation_service import operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import load_config
from aggregation_service.operations import DiscoverySettings
from aggregation_service.privacy.ledger import VotesReleased
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage import books, models, rounds
from aggregation_service.storage.database import Database
from aggregation_service.storage.files import find_content
from device_runtime.conditions import Conditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog
from emulator.service_process import running_service
from model.export import export_training_graph
from model.network import NetworkShape, initial_weights
from protocol.discovery.parameters import DiscoveryParameters
from protocol.manifest import decode_manifest, decode_public_key
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TrainingParameters
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # a service and devices that live through hours

POPULATION = "english"
START = 1_700_000_000.0
LEAP_S = 7_200
"""From round to round: less than a discovery waits for devices before it lets training go first."""
KNOWN = ["see you at the station", "i am at the market now", "call me please"]
SHARED = "zorble"
ALONE = ("quib", "vexer", "wyfful", "xantho", "yoddle", "jumpus", "kroxen", "ulmic")
PARAMETERS = DiscoveryParameters(steps=(3, 2, 2), max_words=4, max_prefixes=20)
ENDS = (Event.REPORTED, Event.GROUP_ENDED, Event.REJECTED, Event.EXPIRED, Event.REFUSED, Event.INTERRUPTED)


class Always:
    """Idle, charging, unmetered."""

    def read(self):
        return Conditions(idle=True, charging=True, unmetered=True)


@dataclass
class Town:
    """The service, its devices and the time that they share."""

    config: object
    clock_path: object
    now: float = START
    agents: list = field(default_factory=list)
    folders: list = field(default_factory=list)

    def set_time(self, now):
        self.now = max(now, self.now)
        set_file_clock(self.clock_path, self.now)

    def read(self, what, *arguments):
        database = Database(self.config.database_url)
        with database.read() as connection:
            found = what(connection, *arguments)
        database.close()
        return found

    def live_through_a_round(self):
        """Lets all devices take part until the round is over; what each one did, and the round."""
        before = len(self.read(rounds.list_rounds, POPULATION))
        self.set_time(self.now + LEAP_S)
        events = [[] for _ in self.agents]
        waiting = [(self.now + index, index) for index in range(len(self.agents))]
        while waiting:
            at, index = heapq.heappop(waiting)
            self.set_time(at)
            outcome = self.agents[index].step()
            events[index].append(outcome.event)
            if outcome.event not in ENDS:
                heapq.heappush(waiting, (self.now + max(outcome.next_step_in_s, 0.1), index))
        return events, self.wait_for_the_end(before)

    def wait_for_the_end(self, before):
        deadline = time.monotonic() + 60
        while len(found := self.read(rounds.list_rounds, POPULATION)) == before or found[-1].state.phase not in (
            "closed",
            "abandoned",
        ):
            assert time.monotonic() < deadline, found[-1].state
            self.set_time(self.now + 60)
            time.sleep(0.3)
        return found[-1]


@pytest.fixture(scope="module")
def vocabulary():
    counts = count_words(KNOWN)
    return Vocabulary(train_vocabulary(counts, size=len(counts) + 9))


@pytest.fixture
def town(tmp_path, vocabulary):
    set_file_clock(tmp_path / "clock", START)
    paths = operations.initialise(tmp_path / "service", clock_path=tmp_path / "clock")
    shape = NetworkShape(vocabulary_size=len(vocabulary), embedding_size=8, num_units=12)
    plan = Plan(
        tensors=shape.tensors,
        training=TrainingParameters(
            batch_size=4, sequence_length=8, local_epochs=1, learning_rate=1.0, max_words=1_000
        ),
        privacy=PrivacyParameters(
            l2_clip_norm=0.5, noise_multiplier=0.0, report_goal=len(ALONE), minimum_separation_s=60.0
        ),
        secure_aggregation=SecureAggregationParameters(
            value_bits=16, min_members=5, max_members=len(ALONE), dropout_fraction=0.25, mode="semi_malicious"
        ),
    )  # fmt: skip
    town = Town(load_config(paths.config_path), tmp_path / "clock")
    operations.add_population(town.config, POPULATION)
    operations.create_task(
        town.config,
        population=POPULATION,
        plan=plan,
        training_graph=export_training_graph(shape, batch_size=4, sequence_length=8),
        checkpoint=initial_weights(shape, seed=5),
        parameters=RoundParameters(
            minimum_reports=5, over_selection=1.0, gather_s=30, stage_timeout_s=60, poll_s=5,
            selection_timeout_s=LEAP_S + 300,
        ),
        optimizer=ServerAverage(),
        vocabulary=vocabulary.model,
    )  # fmt: skip
    token = operations.create_enrolment_token(town.config, POPULATION, uses=len(ALONE), days=1).token
    with ExitStack() as stack:
        service = stack.enter_context(running_service(paths.config_path, tmp_path / "service.log"))
        session = stack.enter_context(new_session())
        enrolment = Enrolment(
            service_url=service.url,
            population=POPULATION,
            public_key=decode_public_key(paths.public_key),
            token=token,
            require_secure_aggregation=True,
            discovers_words=True,
        )
        for word in ALONE:
            town.folders.append(tmp_path / word)
            log = stack.enter_context(TypingLog(tmp_path / word / "typing_log.sqlite", clock=lambda: town.now))
            log.consent = True
            texts = [*KNOWN, f"call {SHARED} at {word}", f"{SHARED} now {word}"]
            log.extend([(text, "chat", START - 600 + place) for place, text in enumerate(texts)])
            environment = DeviceEnvironment(
                data_directory=tmp_path / word,
                conditions=Always(),
                clock=lambda: town.now,
                http=session,
                jitter=lambda: 1.0,
            )
            town.agents.append(Agent(environment, enrolment, log))
        yield town


def told_to_devices(town, record):
    """All bytes that devices were given in a round."""
    entries = decode_manifest(record.manifest.manifest).files.values()
    return b"".join(town.read(find_content, entry.sha256) for entry in entries)


def test_a_word_of_all_comes_out_and_nothing_of_one_device_ever_does(town, vocabulary):
    begun = operations.create_discovery(
        town.config,
        population=POPULATION,
        parameters=PARAMETERS,
        settings=DiscoverySettings(noise_multiplier=0.2, minimum_reports=5),
    )
    assert 1 < begun.threshold < len(ALONE) - 2
    kinds, given = [], b""
    for _ in range(5):
        events, record = town.live_through_a_round()
        assert record.state.phase == "closed"
        assert all(each[-1] is Event.REPORTED for each in events)
        kinds.append(record.task.kind)
        if record.task.kind == "discovery":
            given += told_to_devices(town, record)
            assert all(Event.VOTED in each and Event.MASKED in each for each in events)
    assert kinds == ["discovery", "training", "discovery", "training", "discovery"]
    [found] = operations.list_words(town.config, POPULATION)
    assert (found.word, found.status) == (SHARED, "found")
    assert found.devices == pytest.approx(len(ALONE), abs=3)
    of_files = given.replace(vocabulary.model, b"")
    assert b'"zor"' in of_files
    assert not any(f'"{word[:3]}'.encode() in of_files for word in ALONE)
    assert not list(itertools.chain.from_iterable(each.glob("*/words.sealed") for each in town.folders))
    booked = [event for event in town.read(books.list_events, POPULATION) if isinstance(event, VotesReleased)]
    assert [(event.level, event.num_reports, event.secure_aggregation) for event in booked] == [
        (level, len(ALONE), True) for level in range(3)
    ]
    assert town.read(models.find_running, POPULATION, "discovery") is None
    lines = (town.clock_path.parent / "service.log").read_text()
    assert SHARED not in lines
    assert "discovery_level_closed" in lines
    assert not any(word in lines for word in ALONE)
    assert json.dumps(SHARED) not in lines
