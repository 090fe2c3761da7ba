"""Secure aggregation from end to end: real agents, a real service in its own process, virtual time, and devices lost.

What each device's spool held before its session is the oracle: added up here, in the open, it must be the sum that the
service found without seeing one of them.
"""

import heapq
import itertools
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from aggregation_service import operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import load_config
from aggregation_service.privacy.ledger import DistributedSumReleased
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage import books, rounds
from aggregation_service.storage.database import Database
from device_runtime.conditions import Conditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.network.identity import RequestSigner, load_identity_key
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.agent_state import StateFile, Waiting
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog
from emulator.service_process import running_service
from model.export import export_training_graph
from model.network import NetworkShape, initial_weights
from protocol.lanes import signed_values
from protocol.manifest import decode_manifest, decode_public_key
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TrainingParameters
from protocol.secure_aggregation.inputs import decode_sum
from protocol.secure_aggregation.packing import unpack
from protocol.secure_aggregation.signing import Task
from protocol.weights import flatten
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # a service and devices that live through hours

POPULATION = "english"
NUM_DEVICES, LEAST = 8, 5
START = 1_700_000_000.0
TEXTS = [
    [f"see you at the {place} {when}", f"i am at the {place} now", f"call me {when} please", f"are you there {when}"]
    for place, when in itertools.product(["station", "market", "river", "office"], ["today", "soon"])
]
FOREVER = float("inf")
ENDS = (Event.REPORTED, Event.GROUP_ENDED, Event.REJECTED, Event.EXPIRED, Event.REFUSED, Event.INTERRUPTED)
SECURE = SecureAggregationParameters(
    value_bits=16,
    min_members=LEAST,
    max_members=NUM_DEVICES,
    dropout_fraction=0.25,
    mode="semi_malicious",  # which lets more of so few devices drop out
)


class Always:
    """Idle, charging, unmetered."""

    def read(self):
        return Conditions(idle=True, charging=True, unmetered=True)


@dataclass
class Device:
    """A device over its folder; `restart` is what another process would find."""

    environment: DeviceEnvironment
    enrolment: Enrolment
    log: TypingLog
    agent: Agent = None
    spooled: bytes = b""
    outcomes: list = field(default_factory=list)

    def restart(self):
        self.agent = Agent(self.environment, self.enrolment, self.log)

    def step(self):
        self.outcomes.append(self.agent.step())
        if self.outcomes[-1].event is Event.TRAINED:
            self.spooled = self.agent._spool.get(self.state().phase.selected.assignment_id)
        return self.outcomes[-1]

    def state(self):
        return StateFile(self.environment.data_directory / POPULATION / "agent.json").load()

    def events(self):
        return [outcome.event for outcome in self.outcomes]


@dataclass
class Lived:
    """What is known of one round after it has ended."""

    record: object
    before: dict
    after: dict

    def expected_sum(self, devices, plan):
        """The sum of what these devices' spools held, by integers that nothing was ever masked with."""
        size, bits = plan.update_size, plan.secure_aggregation.value_bits
        lanes = [unpack(device.spooled, size, bits) for device in devices]
        total = sum(signed_values(each, bits).astype(np.int64) for each in lanes)
        assert np.abs(total).max() < 2 ** (bits - 1), "no sum ever overflows"
        manifest = decode_manifest(self.record.manifest.manifest)
        plan_sha256 = bytes.fromhex(manifest.files["plan"].sha256)
        task = Task(population=POPULATION, round_id=self.record.id, plan_sha256=plan_sha256)
        return decode_sum((total % 2**bits).astype(lanes[0].dtype), plan, task, len(lanes))


@dataclass
class Town:
    """The service, its devices and the time that they share."""

    config: object
    clock_path: object
    plan: Plan
    training_graph: bytes
    vocabulary: bytes
    now: float = START
    devices: list = field(default_factory=list)

    def set_time(self, now):
        self.now = max(now, self.now)
        set_file_clock(self.clock_path, self.now)

    def records(self):
        database = Database(self.config.database_url)
        with database.read() as connection:
            found = rounds.list_rounds(connection, POPULATION)
        database.close()
        return found

    def weights(self):
        return operations.current_checkpoint(self.config, POPULATION)[1]

    def live_through_a_round(self, absent=None, restarted=()):
        """Lets all devices take part until the round is over.

        Args:
          absent: for how many seconds a device is not heard of, by its index and the event after which it is lost.
          restarted: pairs of index and event, of devices whose process ends then and begins again.

        """
        before, num_before = self.weights(), len(self.records())
        self.set_time(self.now + 3_600)
        for device in self.devices:
            device.restart()
            if not isinstance(device.state().phase, Waiting):
                device.step()  # gives up what it was lost in
            device.outcomes.clear()
        self.set_time(self.now + 3_600)
        waiting = [(self.now + index, index) for index in range(NUM_DEVICES)]
        while waiting:
            at, index = heapq.heappop(waiting)
            self.set_time(at)
            outcome = self.devices[index].step()
            if (index, outcome.event) in restarted:
                self.devices[index].restart()
            absence_s = (absent or {}).get((index, outcome.event), 0.0)
            if outcome.event not in ENDS and absence_s < FOREVER:
                heapq.heappush(waiting, (self.now + max(outcome.next_step_in_s, absence_s, 0.1), index))
        return Lived(self.wait_for_the_end(num_before), before, self.weights())

    def wait_for_the_end(self, num_before):
        """Time passes without a request, until the service has ended the round by itself."""
        deadline = time.monotonic() + 60
        while len(found := self.records()) == num_before or found[-1].state.phase not in ("closed", "abandoned"):
            assert time.monotonic() < deadline, found[-1].state
            self.set_time(self.now + 60)
            time.sleep(0.3)
        assert len(found) == num_before + 1
        return found[-1]


@pytest.fixture(scope="module")
def vocabulary():
    counts = count_words(text for texts in TEXTS for text in texts)
    return Vocabulary(train_vocabulary(counts, size=len(counts) + 9))


@pytest.fixture(scope="module")
def town(tmp_path_factory, vocabulary):
    folder = tmp_path_factory.mktemp("town")
    clock_path = folder / "clock"
    set_file_clock(clock_path, START)
    paths = operations.initialise(folder / "service", clock_path=clock_path)
    shape = NetworkShape(vocabulary_size=len(vocabulary), embedding_size=8, num_units=12)
    plan = Plan(
        tensors=shape.tensors,
        training=TrainingParameters(
            batch_size=4, sequence_length=8, local_epochs=2, learning_rate=1.0, max_words=1_000
        ),
        privacy=PrivacyParameters(
            l2_clip_norm=0.5, noise_multiplier=0.0, report_goal=NUM_DEVICES, minimum_separation_s=60.0
        ),
        secure_aggregation=SECURE,
    )  # fmt: skip
    graph = export_training_graph(shape, batch_size=4, sequence_length=8)
    town = Town(load_config(paths.config_path), clock_path, plan, graph, vocabulary.model)
    operations.add_population(town.config, POPULATION)
    operations.create_task(
        town.config,
        population=POPULATION,
        plan=plan,
        training_graph=graph,
        checkpoint=initial_weights(shape, seed=5),
        parameters=RoundParameters(
            minimum_reports=LEAST, over_selection=1.0, gather_s=30, stage_timeout_s=60, poll_s=5
        ),
        optimizer=ServerAverage(),
        vocabulary=vocabulary.model,
    )  # fmt: skip
    token = operations.create_enrolment_token(town.config, POPULATION, uses=NUM_DEVICES, days=1).token
    with ExitStack() as stack:
        service = stack.enter_context(running_service(paths.config_path, folder / "service.log"))
        session = stack.enter_context(new_session())
        enrolment = Enrolment(
            service_url=service.url,
            population=POPULATION,
            public_key=decode_public_key(paths.public_key),
            token=token,
            require_secure_aggregation=True,
        )
        for index, texts in enumerate(TEXTS):
            home = folder / f"device-{index}"
            log = stack.enter_context(TypingLog(home / "typing_log.sqlite", clock=lambda: town.now))
            log.consent = True
            log.extend([(text, "chat", START - 600 + place) for place, text in enumerate(texts)])
            environment = DeviceEnvironment(
                data_directory=home, conditions=Always(), clock=lambda: town.now, http=session, jitter=lambda: 1.0
            )
            town.devices.append(Device(environment, enrolment, log))
        yield town


def check(lived, town, counted):
    """The round closed with the exact sum of these devices' updates, and no others'."""
    assert lived.record.state.phase == "closed"
    assert lived.record.state.reported == len(counted)
    difference = flatten(lived.after, town.plan.tensors) - flatten(lived.before, town.plan.tensors).astype(np.float64)
    average = lived.expected_sum(counted, town.plan) / NUM_DEVICES  # the goal, whoever reports: noise is sized by it
    assert np.linalg.norm(average) > 0.01
    assert np.allclose(difference, average, rtol=0, atol=1e-6)


def test_the_service_learns_the_exact_sum_and_no_update(town):
    lived = town.live_through_a_round()
    assert all(device.events()[-1] is Event.REPORTED for device in town.devices)
    check(lived, town, town.devices)


@pytest.mark.parametrize(("lost_after", "counts"), [(Event.SHARED, False), (Event.MASKED, True)])
def test_devices_may_be_lost_within_a_group(town, lost_after, counts):
    lived = town.live_through_a_round(absent={(2, lost_after): FOREVER, (5, lost_after): FOREVER})
    others = [device for index, device in enumerate(town.devices) if index not in (2, 5)]
    assert all(device.events()[-1] is Event.REPORTED for device in others)
    check(lived, town, town.devices if counts else others)


def test_devices_may_be_lost_before_they_have_shared_or_when_little_is_left_to_do(town):
    absent = {(0, Event.ADVERTISED): FOREVER, (1, Event.TRAINED): FOREVER, (2, Event.CONFIRMED): FOREVER}
    check(town.live_through_a_round(absent), town, town.devices[2:])


def test_a_process_that_restarts_drops_out_a_straggler_is_told_so_and_the_others_go_on(town):
    lived = town.live_through_a_round({(6, Event.SHARED): 90.0}, restarted=[(3, Event.SHARED)])
    assert town.devices[3].events()[-1] is Event.INTERRUPTED
    assert town.devices[6].events()[-1] is Event.GROUP_ENDED
    check(lived, town, [device for index, device in enumerate(town.devices) if index not in (3, 6)])


def test_with_too_many_lost_the_group_ends_in_the_open_and_nothing_is_learnt(town):
    lived = town.live_through_a_round({(index, Event.SHARED): FOREVER for index in range(3)})
    assert lived.record.state.phase == "abandoned"
    assert lived.record.state.reported == 0
    assert [device.events()[-1] for device in town.devices[3:]] == [Event.GROUP_ENDED] * 5
    assert np.array_equal(flatten(lived.after, town.plan.tensors), flatten(lived.before, town.plan.tensors))


def test_nobody_but_the_member_speaks_for_it(town):
    """Another enrolled device, with another device's assignment and token, is refused."""
    device, other = town.devices[0], town.devices[1]
    town.set_time(town.now + 3_600)
    device.restart()
    while device.step().event is not Event.TRAINED:
        town.set_time(town.now + 5)
    client, folder = device.agent._client, other.environment.data_directory / POPULATION
    key = device.enrolment.public_key
    client.signer = RequestSigner(load_identity_key(folder), other.state().device_id, lambda: town.now, key)
    selected = device.state().phase.selected
    for call in (
        lambda: client.tell_group(selected, "keys", secrets.token_bytes(208)),
        lambda: client.ask_group(selected, "roster"),
    ):
        with pytest.raises(Exception, match="refused with status 40"):
            call()


def test_devices_add_all_the_noise_that_there_is(town):
    """The service releases what the devices spooled, each with its share, as it is; and booked it."""
    privacy = msgspec.structs.replace(town.plan.privacy, noise_multiplier=4.0, noise_by="devices")
    secure = msgspec.structs.replace(
        SECURE, value_bits=24, min_members=NUM_DEVICES, dropout_fraction=0.0, mode="malicious"
    )
    quiet, town.plan = town.plan, msgspec.structs.replace(town.plan, privacy=privacy, secure_aggregation=secure)
    operations.create_task(
        town.config,
        population=POPULATION,
        plan=town.plan,
        training_graph=town.training_graph,
        checkpoint=None,
        parameters=RoundParameters(
            minimum_reports=LEAST, over_selection=1.0, gather_s=30, stage_timeout_s=60, poll_s=5
        ),
        optimizer=ServerAverage(),
        vocabulary=town.vocabulary,
    )  # fmt: skip
    lived = town.live_through_a_round()
    assert all(device.events()[-1] is Event.REPORTED for device in town.devices)
    check(lived, town, town.devices)
    moved = flatten(lived.after, quiet.tensors) - flatten(lived.before, quiet.tensors).astype(np.float64)
    assert moved.std() * NUM_DEVICES >= 0.9 * 4.0 * quiet.privacy.l2_clip_norm  # shares of all eight, not of the fewest
    database = Database(town.config.database_url)
    with database.read() as connection:
        *_, booked = books.list_events(connection, POPULATION)
    database.close()
    assert isinstance(booked, DistributedSumReleased)
    assert booked.round_id == lived.record.id
