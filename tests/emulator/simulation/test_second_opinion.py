"""One round of TensorFlow Federated and one of the real service give the same weights.

Real agents with logs of their own train the TFLite graph and report over HTTP to a real service in a process of its
own. What TFF is told: the same first weights, each device's texts as its log holds them, and the seed that the service
gave it with its assignment.
"""

import logging
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest

from aggregation_service import operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import load_config
from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from device_runtime.conditions import Conditions
from device_runtime.environment import DeviceEnvironment, new_session
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.agent_state import StateFile
from device_runtime.rounds.outcome import Event
from device_runtime.typing_log import TypingLog
from emulator.service_process import running_service
from emulator.simulation.settings import RunSettings
from model.network import NetworkShape, initial_weights
from protocol.manifest import decode_public_key
from protocol.plan import Plan, PrivacyParameters, TrainingParameters
from tokenizer.examples import make_examples
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

NUM_DEVICES = 6
START = 1_700_000_000.0
CLIP = 0.7
TRAINING = TrainingParameters(batch_size=4, sequence_length=12, local_epochs=1, learning_rate=0.8, max_words=160)
"""So few words that the busiest devices' logs are cut."""
OPTIMIZERS = {"english": ServerAverage(learning_rate=0.9), "heavy": ServerMomentum(), "adaptive": ServerAdam()}
"""A population each: a task has one optimiser."""
SAME = 1e-5

_logger = logging.getLogger(__name__)


def sentences(index):
    """What one made-up person types; from person to person more, so that some updates are clipped and some are not."""
    draw = random.Random(index)
    places, times = ["station", "market", "river", "office"], ["today", "tomorrow", "tonight", "soon"]
    forms = ["see you at the {} {}", "i am at the {} now", "are you at the {} {}", "call me {1} at the {0} please"]
    return [draw.choice(forms).format(draw.choice(places), draw.choice(times)) for _ in range(3 + 7 * index)]


TEXTS = [sentences(index) for index in range(NUM_DEVICES)]


class Always:
    """Idle, charging, unmetered."""

    def read(self):
        return Conditions(idle=True, charging=True, unmetered=True)


@dataclass
class Lived:
    """One round of the service: what it began with, what came out, and what each device trained on."""

    population: str
    first: dict
    after: dict
    devices: list
    num_clipped: int


def rounded(weights):
    """To what float16 holds: devices download their weights as such."""
    return {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()}


@pytest.fixture(scope="module")
def vocabulary():
    counts = count_words(text for texts in TEXTS for text in texts)
    return Vocabulary(train_vocabulary(counts, size=len(counts) + 9))


@pytest.fixture(scope="module")
def shape(vocabulary):
    return NetworkShape(vocabulary_size=len(vocabulary), embedding_size=24, num_units=48)


@pytest.fixture(scope="module", params=OPTIMIZERS)
def lived(request, tmp_path_factory, vocabulary, shape):
    return live_through_a_round(request.param, tmp_path_factory.mktemp("town"), vocabulary, shape)


def live_through_a_round(population, folder, vocabulary, shape):
    from model.export import export_training_graph

    first, now = rounded(initial_weights(shape, seed=5)), [START]
    clock_path = folder / "clock"
    set_file_clock(clock_path, START)
    paths = operations.initialise(folder / "service", clock_path=clock_path)
    config = load_config(paths.config_path)
    operations.add_population(config, population)
    privacy = PrivacyParameters(
        l2_clip_norm=CLIP, noise_multiplier=0.0, report_goal=NUM_DEVICES, minimum_separation_s=60.0
    )
    operations.create_task(
        config,
        population=population,
        plan=Plan(tensors=shape.tensors, training=TRAINING, privacy=privacy),
        training_graph=export_training_graph(
            shape, batch_size=TRAINING.batch_size, sequence_length=TRAINING.sequence_length
        ),
        checkpoint=first,
        parameters=RoundParameters(minimum_reports=NUM_DEVICES, over_selection=1.0),
        optimizer=OPTIMIZERS[population],
        vocabulary=vocabulary.model,
    )
    token = operations.create_enrolment_token(config, population, uses=NUM_DEVICES, days=1).token
    trained = []
    with ExitStack() as stack:
        service = stack.enter_context(running_service(paths.config_path, folder / "service.log"))
        session = stack.enter_context(new_session())
        enrolment = Enrolment(
            service_url=service.url, population=population, public_key=decode_public_key(paths.public_key), token=token
        )
        for index, texts in enumerate(TEXTS):
            home = folder / f"device-{index}"
            log = stack.enter_context(TypingLog(home / "typing_log.sqlite", clock=lambda: now[0]))
            log.consent = True
            log.extend([(text, "chat", START - 600 + place) for place, text in enumerate(texts)])
            environment = DeviceEnvironment(
                data_directory=home, conditions=Always(), clock=lambda: now[0], http=session, jitter=lambda: 1.0
            )
            trained.append(take_part(Agent(environment, enrolment, log), log, home / population / "agent.json", now))
        deadline = time.monotonic() + 60
        while operations.current_version(config, population) == 0:
            assert time.monotonic() < deadline, "the round must close"
            set_file_clock(clock_path, now[0])
            time.sleep(0.05)
        _, after = operations.current_checkpoint(config, population)
    return Lived(population, first, after, [each[:2] for each in trained], sum(each[2] for each in trained))


def take_part(agent, log, state_path, now):
    """Steps until the report is in; the texts that were trained on, the seed of their order, and whether it clipped."""
    outcomes, seed = [], None
    while not outcomes or outcomes[-1].event is not Event.REPORTED:
        assert len(outcomes) < 10, outcomes
        outcomes.append(agent.step())
        now[0] += 0.5
        if outcomes[-1].event is Event.CONFIGURED:
            seed = int(StateFile(state_path).load().phase.selected.assignment_id, 16)
    (clipped,) = (outcome.numbers["was_clipped"] for outcome in outcomes if outcome.event is Event.TRAINED)
    return [message.text for message in log.messages(TRAINING.max_words)], seed, clipped


def simulated(lived, vocabulary, shape, *, seed_shift=0, l2_clip_norm=CLIP):
    """The same round by TFF: weights by name."""
    from emulator.simulation.learning import Simulation
    from emulator.simulation.runtime import tff_runtime

    run = RunSettings(
        aggregator="mean",
        noise_multiplier=0.0,
        l2_clip_norm=l2_clip_norm,
        learning_rate=TRAINING.learning_rate,
        optimizer=OPTIMIZERS[lived.population],
        rounds=1,
        cohort=NUM_DEVICES,
        seed=1,
    )
    cohort = [
        (make_examples(map(vocabulary.encode_message, texts), vocabulary, TRAINING.sequence_length), seed + seed_shift)
        for texts, seed in lived.devices
    ]
    with tff_runtime(num_threads=2):
        simulation = Simulation(run, TRAINING, shape.tensors, lived.first)
        simulation.close_round(cohort)
        return simulation.weights


def distance(theirs, ours, before=None):
    """The largest relative distance of a tensor, or of its movement, in L2 norm."""
    start = before or {name: np.zeros_like(value) for name, value in ours.items()}
    return max(
        np.linalg.norm(theirs[name].astype(np.float64) - ours[name]) / np.linalg.norm(ours[name] - start[name])
        for name in ours
    )


def test_tff_and_the_service_give_the_same_weights(lived, vocabulary, shape):
    assert 0 < lived.num_clipped < NUM_DEVICES, "the round must hold updates of both kinds"
    theirs = simulated(lived, vocabulary, shape)
    apart, apart_movement = distance(theirs, lived.after), distance(theirs, lived.after, lived.first)
    name = type(OPTIMIZERS[lived.population]).__name__
    _logger.info("%s: weights differ by %.1e, their movement by %.1e", name, apart, apart_movement)
    assert apart < SAME
    assert apart_movement < SAME


@pytest.mark.parametrize("lived", ["english"], indirect=True)
@pytest.mark.parametrize("change", [{"seed_shift": 1}, {"l2_clip_norm": 1.01 * CLIP}], ids=["order", "clip"])
def test_the_comparison_sees_another_order_of_examples_and_another_clip(change, lived, vocabulary, shape):
    theirs = simulated(lived, vocabulary, shape, **change)
    assert distance(theirs, lived.after, lived.first) > 100 * SAME
