"""The world and the fleet of a soak: devices that may always act, with machines and people of their own."""

import random
import time
from pathlib import Path

import numpy as np

from aggregation_service import operations
from aggregation_service.rounds.optimizer import ServerAverage
from emulator.device import EmulatedDevice, World
from emulator.person import Person
from emulator.rehearsing.ground import PopulationGround, lay_grounds
from emulator.rehearsing.world import VIRTUAL_START, Layout, make_service, settle_people
from emulator.scenarios.schema import Model, Population, Scenario
from emulator.soaking.settings import DEVICE_KILLS_PER_STEP, POPULATION, VIRTUAL_SPEED, SoakSettings
from emulator.trace import Intervals, Trace
from emulator.traces.hardware import HardwareMix, draw_hardware

DELTA = 1e-6
_ALWAYS = Intervals(((0.0, 1e12),))
_LONGEST_SLEEP_S = 20.0
_STEPS_AT_LEAST = 4
_TOKEN_USES = 4


def lay_ground(settings: SoakSettings, folder: Path) -> PopulationGround:
    """People, words and first weights; nobody's predictions matter here, so nothing is pre-trained."""
    scenario = Scenario(
        about="a soak",
        days=1,
        devices=settings.devices,
        seed=settings.seed,
        model=Model(size=settings.size, pretraining_epochs=0),
        populations=(Population(name=POPULATION, corpus=settings.corpus),),
    )
    (laid,) = lay_grounds(scenario, folder)
    return laid


def make_world(layout: Layout, settings: SoakSettings, laid: PopulationGround, database_url: str | None) -> None:
    """Makes the service with its one task, and the people.

    The server's optimiser adds the mean: what a round released can be read off its weights.
    """
    config = make_service(layout, VIRTUAL_START, privacy_delta=DELTA, database_url=database_url)
    operations.add_population(config, POPULATION)
    operations.create_task(
        config,
        population=POPULATION,
        plan=settings.plan(laid.ground.settings),
        training_graph=laid.ground.graph,
        checkpoint={name: np.asarray(values) for name, values in laid.ground.pretrained.items()},
        parameters=settings.parameters,
        optimizer=ServerAverage(),
        vocabulary=laid.ground.vocabulary.model,
    )
    settle_people(layout, laid)


def world_of(layout: Layout, settings: SoakSettings, url: str) -> World:
    """What all devices share; they find the service at `url`."""
    uses, config = _TOKEN_USES * settings.devices, layout.config
    return World(
        service_url=url,
        population=POPULATION,
        public_key=operations.public_key(config),
        enrolment_token=operations.create_enrolment_token(config, POPULATION, uses=uses, days=366).token,
        vocabulary_path=layout.vocabulary(POPULATION),
        start=VIRTUAL_START,
    )


def draw_fleet(layout: Layout, settings: SoakSettings) -> list[EmulatedDevice]:
    """All devices: always idle, charging and unmetered, so that one that does not act has no excuse."""
    people = layout.count_people(POPULATION)
    mix = HardwareMix(kills_per_step=DEVICE_KILLS_PER_STEP)
    return [
        EmulatedDevice(
            index=index,
            folder=layout.device(index),
            trace=Trace(idle=_ALWAYS, charging=_ALWAYS, unmetered=_ALWAYS),
            hardware=draw_hardware(random.Random(f"{settings.seed} {index} hardware"), mix),  # noqa: S311  # no secret
            least_steps=_STEPS_AT_LEAST,
            person=Person(
                seed=f"{settings.seed} {index}",
                texts_path=layout.texts(POPULATION, index % people),
                zone_s=0.0,
                since=VIRTUAL_START,
                messages_per_day=8.0,
                history=1.0,
                watched=0.0,
            ),
        )
        for index in range(settings.devices)
    ]


class Pace:
    """Holds virtual time back to `VIRTUAL_SPEED`; what was slow is never made up for."""

    def __init__(self, start: float) -> None:
        self._shown = start
        self._at = time.monotonic()

    def __call__(self, now: float) -> None:
        """Sleeps for as long as virtual time has run ahead since the last call."""
        ahead_s = (now - self._shown) / VIRTUAL_SPEED - (time.monotonic() - self._at)
        if ahead_s > 0:
            time.sleep(min(ahead_s, _LONGEST_SLEEP_S))
        self._shown, self._at = max(now, self._shown), time.monotonic()
