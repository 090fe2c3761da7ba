"""A release's whole life with real devices: trained, evaluated on their words, let through, rolled out, taken back.

A real service as a process of its own, the real agent and release keeper over real HTTP; only the clock is virtual.
"""

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import requests

from aggregation_service import audit, operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import load_config
from aggregation_service.operations import EvaluationSettings
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.releases.gate import EvaluationResult
from aggregation_service.releases.rollout import is_in_rollout
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage import books, rounds
from aggregation_service.storage.database import Database
from device_runtime.conditions import Conditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.releases.keeper import RELEASES, ReleaseKeeper
from device_runtime.releases.refresh import ReleaseRefresh
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.agent_state import AgentState, StateFile
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog
from emulator.service_process import running_service
from model.export import export_prediction_model, export_training_graph
from model.network import NetworkShape, initial_weights
from protocol import routes
from protocol.manifest import decode_manifest, decode_public_key
from protocol.plan import Plan, PrivacyParameters, TrainingParameters
from protocol.weights import decode_checkpoint
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

pytestmark = pytest.mark.slow  # a service and devices that live through hours

POPULATION = "english"
NUM_DEVICES, GOAL = 7, 6
START = 1_700_000_000.0
BATCH, LENGTH = 16, 12
MARGIN = 0.02
CLIPPED, WHOLE = 20.0, 1_000.0
"""Norms of evaluations: smaller and larger than that of any device's sums."""


class Evaluation(NamedTuple):
    """What an evaluation round is asked, and of whom."""

    number: int
    l2_clip_norm: float
    versions: tuple[int, int]
    evaluators: range


TRAINERS = range(GOAL)
BETTER = Evaluation(2, CLIPPED, (1, 0), range(1, NUM_DEVICES))
SPOILT = Evaluation(3, WHOLE, (2, 1), range(GOAL))
AGAIN = Evaluation(4, WHOLE, (1, 0), range(1, NUM_DEVICES))
"""The better version once more, after all went back to the one before it."""
EVALUATIONS = [BETTER, SPOILT, AGAIN]


def sentences(index):
    """What one made-up person types: seldom two sentences alike, but the same turns of phrase."""
    draw = random.Random(index)
    places, times = ["station", "market", "river", "office"], ["today", "tomorrow", "tonight", "soon"]
    forms = ["see you at the {} {}", "i am at the {} now", "are you at the {} {}", "call me {1} at the {0} please"]
    return [draw.choice(forms).format(draw.choice(places), draw.choice(times)) for _ in range(9 + index)]


TEXTS = [sentences(index) for index in range(NUM_DEVICES)]


@pytest.fixture(scope="module")
def vocabulary():
    counts = count_words(text for texts in TEXTS for text in texts)
    return Vocabulary(train_vocabulary(counts, size=len(counts) + 9))


@pytest.fixture(scope="module")
def shape(vocabulary):
    return NetworkShape(vocabulary_size=len(vocabulary), embedding_size=8, num_units=12)


class Always:
    """Idle, charging, unmetered."""

    def read(self):
        return Conditions(idle=True, charging=True, unmetered=True)


@dataclass
class Device:
    """The real parts of a device, over a folder of its own."""

    index: int
    device_id: str
    agent: Agent
    refresh: ReleaseRefresh
    keeper: ReleaseKeeper
    outcomes: list = field(default_factory=list)

    def take_part(self, town):
        """Steps until the agent has nothing to do any more."""
        for _ in range(5):
            town.pass_time(0.5)
            self.outcomes.append(self.agent.step())
            if self.outcomes[-1].next_step_in_s:
                break
        assert self.outcomes[-1].event is Event.REPORTED, self.outcomes[-5:]

    @property
    def held_version(self):
        return self.keeper.current().manifest.model_version


@dataclass
class Town:
    """The service, its devices and the time that they share."""

    config: object
    clock_path: Path
    now: float = START
    url: str = ""
    devices: list = field(default_factory=list)

    def pass_time(self, seconds):
        self.now += seconds
        set_file_clock(self.clock_path, self.now)

    def records(self):
        database = Database(self.config.database_url)
        with database.read() as connection:
            found = rounds.list_rounds(connection, POPULATION)
        database.close()
        return found

    def live_through_a_round(self, cohort):
        """Lets devices take part, one after the other, until the round that they fill has closed."""
        self.pass_time(3600)  # whatever the devices were told to wait for is over
        num_closed = len(self.records())
        for index in cohort:
            self.devices[index].take_part(self)
        deadline = time.monotonic() + 20
        while (last := self.records()[-1]).state.phase != "closed":
            assert time.monotonic() < deadline, last.state
            time.sleep(0.02)
        assert len(self.records()) == num_closed + 1

    def refresh(self):
        """Every device looks for a release; what each says of it, and the version that each suggests with then."""
        said = [device.refresh() for device in self.devices]
        return [(outcome.event, outcome.reason) for outcome in said], [device.held_version for device in self.devices]

    def release_files(self, weights, vocabulary):
        model = export_prediction_model(weights)
        return {"prediction_model": model, "vocabulary": vocabulary.model, "casing": b"i\tI\n"}


def make_devices(stack, town, folder, paths, token):
    session = stack.enter_context(new_session())
    enrolment = Enrolment(
        service_url=town.url, population=POPULATION, public_key=decode_public_key(paths.public_key), token=token
    )
    for index, texts in enumerate(TEXTS):
        home, device_id = folder / f"device-{index}", f"{index:032x}"  # no chance decides who is in a roll-out
        StateFile(home / POPULATION / "agent.json").save(AgentState(device_id=device_id))
        log = stack.enter_context(TypingLog(home / "typing_log.sqlite", clock=lambda: town.now))
        log.consent = True
        assert log.extend([(text, "chat", town.now - 600 + place) for place, text in enumerate(texts)]) == len(texts)
        environment = DeviceEnvironment(
            data_directory=home, conditions=Always(), clock=lambda: town.now, http=session, jitter=lambda: 1.0
        )
        keeper = ReleaseKeeper(home / POPULATION / RELEASES, enrolment.public_key, POPULATION)
        agent, refresh = Agent(environment, enrolment, log), ReleaseRefresh(environment, enrolment, log)
        town.devices.append(Device(index, device_id, agent, refresh, keeper))


def train_from(config, shape, vocabulary, graph, weights):
    plan = Plan(
        tensors=shape.tensors,
        training=TrainingParameters(
            batch_size=BATCH, sequence_length=LENGTH, local_epochs=20, learning_rate=2.0, max_words=1_000
        ),
        privacy=PrivacyParameters(
            l2_clip_norm=20.0, noise_multiplier=0.0, report_goal=GOAL, minimum_separation_s=60.0
        ),
        update_format="int16",
    )  # fmt: skip
    return operations.create_task(
        config,
        population=POPULATION,
        plan=plan,
        training_graph=graph,
        checkpoint=weights,
        parameters=RoundParameters(minimum_reports=GOAL, over_selection=1.0),
        optimizer=ServerAverage(),
        vocabulary=vocabulary.model,
    )


@pytest.fixture(scope="module")
def life(tmp_path_factory, vocabulary, shape):
    """Lives the cycle once and writes down what was seen on the way."""
    folder, seen = tmp_path_factory.mktemp("town"), {}
    clock_path = folder / "clock"
    set_file_clock(clock_path, START)
    paths = operations.initialise(folder / "service", clock_path=clock_path)
    town = Town(load_config(paths.config_path), clock_path)
    first = initial_weights(shape, seed=5)
    graph = export_training_graph(shape, batch_size=BATCH, sequence_length=LENGTH)
    operations.add_population(town.config, POPULATION)
    train_from(town.config, shape, vocabulary, graph, first)
    token = operations.create_enrolment_token(town.config, POPULATION, uses=NUM_DEVICES, days=1).token
    with ExitStack() as stack:
        service = stack.enter_context(running_service(paths.config_path, folder / "service.log"))
        town.url = service.url
        make_devices(stack, town, folder, paths, token)
        baseline = town.release_files(first, vocabulary)
        operations.publish_release(town.config, population=POPULATION, files=baseline, actor="anna")
        operations.set_policy(town.config, POPULATION, PopulationPolicy(gate_margin=MARGIN), actor="anna")
        town.live_through_a_round(TRAINERS)
        seen["at the start"] = town.refresh()
        trained = town.release_files(operations.current_checkpoint(town.config, POPULATION)[1], vocabulary)
        seen["better"] = propose(town, trained, BETTER, rollout_percent=50)
        seen["while evaluated"] = town.refresh()
        town.live_through_a_round(BETTER.evaluators)
        seen["at half"] = town.refresh()
        operations.set_rollout(
            town.config, population=POPULATION, release_id=seen["better"].release_id, percent=100, actor="ben"
        )
        seen["at full"] = town.refresh()
        spoilt = {name: -value for name, value in operations.current_checkpoint(town.config, POPULATION)[1].items()}
        train_from(town.config, shape, vocabulary, graph, spoilt)
        seen["spoilt"] = propose(town, town.release_files(spoilt, vocabulary), SPOILT)
        town.live_through_a_round(SPOILT.evaluators)
        seen["after the refusal"] = town.refresh()
        seen["rolled back"] = operations.rollback_release(town.config, population=POPULATION, actor="ben")
        seen["after the rollback"], seen["a second look"] = town.refresh(), town.refresh()
        seen["held after the rollback"] = [device.keeper.current() for device in town.devices]
        seen["again"] = propose(town, trained, AGAIN)
        town.live_through_a_round(AGAIN.evaluators)
        seen["in the end"] = town.refresh()
        seen["files"] = {
            (record.number, name): requests.get(service.url + routes.file(entry.sha256), timeout=10).content
            for record in town.records()
            for name, entry in decode_manifest(record.manifest.manifest).files.items()
            if name in ("checkpoint", "baseline_checkpoint")
        }
    return town, seen


def propose(town, files, evaluation, *, rollout_percent=100):
    return operations.propose_release(
        town.config,
        population=POPULATION,
        files=files,
        model_version=evaluation.versions[0],
        rollout_percent=rollout_percent,
        evaluation=EvaluationSettings(l2_clip_norm=evaluation.l2_clip_norm),
        actor="anna",
    )


def logits_after_each(weights, ids):
    """The network by its papers' equations, one word at a time, in float64 numpy: float64 [words, vocabulary]."""
    embedding, projection, bias = (
        weights[name].astype(np.float64) for name in ("embedding", "projection", "output_bias")
    )
    cell, projected, found = np.zeros(len(projection)), np.zeros(projection.shape[1]), []
    for token in ids:
        gates = embedding[token] @ weights["input_kernel"] + projected @ weights["recurrent_kernel"]
        inward, outward, candidate = np.split(gates + weights["gate_bias"], 3)
        opening = 1 / (1 + np.exp(-inward))
        cell = (1 - opening) * cell + opening * np.tanh(candidate)
        projected = (np.tanh(cell) / (1 + np.exp(-outward))) @ projection
        found.append(embedding @ projected + bias)
    return np.array(found)


def count(weights, texts, vocabulary):
    """Hits first, hits among three, loss in units of 8 nats, and targets, word by word."""
    sums = np.zeros(4)
    for text in texts:
        ids = vocabulary.encode_message(text)
        assert len(ids) <= LENGTH + 1, "a message must fit one sequence, whose state begins anew"
        for logits, target in zip(logits_after_each(weights, ids[:-1]), ids[1:], strict=True):
            if target in vocabulary.target_ids:
                place = list(np.argsort(-logits)).index(target)
                loss = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target]
                sums += [place < 1, place < 3, loss / 8.0, 1]
    return sums


def expected_sums(candidate, baseline, evaluation, vocabulary):
    """The seven sums over devices, each device's clipped; and how many devices were clipped."""
    total, num_clipped = np.zeros(7), 0
    for index in evaluation.evaluators:
        ours, theirs = (count(weights, TEXTS[index], vocabulary) for weights in (candidate, baseline))
        vector = np.array([*ours[:3], *theirs[:3], ours[3]])
        norm = np.linalg.norm(vector)
        num_clipped += norm > evaluation.l2_clip_norm
        total += vector * min(1.0, evaluation.l2_clip_norm / norm)
    return total, num_clipped


def result_of(record):
    return msgspec.json.decode(record.result, type=EvaluationResult)


@pytest.mark.parametrize("evaluation", EVALUATIONS, ids=["better", "spoilt", "again"])
def test_an_evaluation_finds_what_counting_word_by_word_finds(life, vocabulary, shape, evaluation):
    town, seen = life
    candidate, baseline = (
        decode_checkpoint(seen["files"][evaluation.number, kind], shape.tensors)
        for kind in ("checkpoint", "baseline_checkpoint")
    )
    sums, num_clipped = expected_sums(candidate, baseline, evaluation, vocabulary)
    assert num_clipped == (GOAL if evaluation.l2_clip_norm == CLIPPED else 0)
    result = result_of(town.records()[evaluation.number - 1])
    found = [result.top1_candidate, result.top3_candidate, result.loss_candidate / 8]
    found += [result.top1_baseline, result.top3_baseline, result.loss_baseline / 8]
    np.testing.assert_allclose(np.array(found) * result.num_targets, sums[:6], rtol=1e-5)
    assert result.num_targets == pytest.approx(sums[6], rel=1e-6)
    assert (result.num_reports, result.standard_error, result.unreadable_because) == (GOAL, 0.0, None)


def test_devices_trained_once_and_evaluated_what_was_proposed(life):
    town, _ = life
    events = [outcome.event for device in town.devices for outcome in device.outcomes]
    assert events.count(Event.ENROLLED) == NUM_DEVICES
    assert events.count(Event.TRAINED) == GOAL
    assert events.count(Event.EVALUATED) == 3 * GOAL
    assert events.count(Event.REPORTED) == 4 * GOAL
    assert [(record.task.kind, record.model_version) for record in town.records()] == [
        ("training", 0),
        *[("evaluation", evaluation.versions[0]) for evaluation in EVALUATIONS],
    ]


def test_the_gate_let_the_better_through_and_refused_the_spoilt(life):
    town, seen = life
    results = [result_of(record) for record in town.records()[1:]]
    assert [(each.candidate_version, each.baseline_version) for each in results] == [
        evaluation.versions for evaluation in EVALUATIONS
    ]
    assert [each.top1_candidate - each.top1_baseline >= MARGIN for each in results] == [True, False, True]
    by_id = {record.id: record for record in operations.list_releases(town.config, POPULATION)}
    proposed = [by_id[seen[name].release_id] for name in ("better", "spoilt", "again")]
    assert [each.status for each in proposed] == ["withdrawn", "refused", "released"], "the first by the rollback"
    assert "which it has not" in proposed[1].decision


def test_a_release_reaches_the_devices_of_its_rollout_and_no_other(life):
    town, seen = life
    inside = [is_in_rollout(seen["better"].release_id, 50, device.device_id) for device in town.devices]
    assert 0 < sum(inside) < NUM_DEVICES
    adopted, unchanged = (Event.RELEASE_ADOPTED, "adopted"), (Event.RELEASE_KEPT, "unchanged")
    everywhere = [unchanged] * NUM_DEVICES
    assert seen["at the start"] == ([adopted] * NUM_DEVICES, [0] * NUM_DEVICES)
    assert seen["while evaluated"] == (everywhere, [0] * NUM_DEVICES)
    assert seen["at half"] == ([adopted if each else unchanged for each in inside], [int(each) for each in inside])
    assert seen["at full"] == ([unchanged if each else adopted for each in inside], [1] * NUM_DEVICES)
    assert seen["after the refusal"] == (everywhere, [1] * NUM_DEVICES)


def test_every_device_goes_back_once_the_operator_does(life):
    _, seen = life
    assert seen["after the rollback"] == ([(Event.RELEASE_ADOPTED, "adopted")] * NUM_DEVICES, [0] * NUM_DEVICES)
    assert seen["a second look"] == ([(Event.RELEASE_KEPT, "unchanged")] * NUM_DEVICES, [0] * NUM_DEVICES)
    assert seen["rolled back"].withdrawn_ids == (seen["better"].release_id,)
    for held in seen["held after the rollback"]:
        assert held.manifest == seen["rolled back"].manifest
        assert held.manifest.is_rollback is True
        assert len(held.predictor().suggest("see you at the ")) == 3
    assert seen["in the end"] == ([(Event.RELEASE_ADOPTED, "adopted")] * NUM_DEVICES, [1] * NUM_DEVICES)


def test_the_books_tell_of_every_sum_and_of_who_released(life):
    town, _ = life
    database = Database(town.config.database_url)
    with database.read() as connection:
        events = books.list_events(connection, POPULATION)
        entries = audit.list_entries(connection)[::-1]
        assert audit.verify(connection, audit.head(connection)) == len(entries)
    database.close()
    assert all(isinstance(event, GaussianSumReleased) for event in events)
    assert [event.round_id for event in events] == [record.id for record in town.records()]
    assert [event.l2_clip_norm for event in events] == [20.0, *[evaluation.l2_clip_norm for evaluation in EVALUATIONS]]
    assert {event.num_reports for event in events} == {GOAL}
    told = [(entry.action, entry.actor) for entry in entries if entry.action.startswith("release.")]
    assert told == [
        ("release.published", "anna"),
        ("release.proposed", "anna"),
        ("release.released", "gate"),
        ("release.rollout_changed", "ben"),
        ("release.proposed", "anna"),
        ("release.refused", "gate"),
        ("release.rolled_back", "ben"),
        ("release.proposed", "anna"),
        ("release.released", "gate"),
    ]
