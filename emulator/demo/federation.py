"""The federated part of the demo: service, fleet and release."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aggregation_service import operations
from aggregation_service.clock import set_file_clock
from aggregation_service.config import load_config
from aggregation_service.dashboard.printing import statement_page
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.summaries import PopulationSummary
from device_runtime.environment import new_session
from device_runtime.network.client import ServiceClient
from device_runtime.releases.release import fetch_release, save_release
from device_runtime.rounds.outcome import Event
from emulator.demo.public_model import PublicWords
from emulator.demo.settings import POPULATION, DemoSettings
from emulator.device import EmulatedDevice, StepResult, World, make_device
from emulator.fleet import Fleet, FleetTotals
from emulator.service_process import RunningService, running_service
from emulator.trace import HOUR_S, nightly_trace
from emulator.traces.hardware import Hardware
from protocol.manifest import decode_public_key
from protocol.weights import Weights

FIRST_MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC).timestamp()
START = FIRST_MIDNIGHT + 1.5 * HOUR_S
"""A time at which everybody sleeps: rounds need not wait for the first evening."""
NIGHTS = 30
_REPORTS = (Event.REPORTED, Event.MASKED)
"""Steps after which an update may be counted."""
SECONDS_PER_STEP = (0.4, 2.5)
"""A training step on a fast and on a slow processor."""


@dataclass(frozen=True, kw_only=True)
class ClosedRound:
    """What the fleet saw of one closed round.

    Attributes:
      weights: of the checkpoint that it made.
      interrupted: devices that were picked up while training since the round before closed.
      loss: mean of the first loss, before training, of all devices that trained since then; None if none did.
      seconds: wall time since the round before closed.

    """

    weights: Weights = field(repr=False)
    interrupted: int
    loss: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FederatedRun:
    """What came of it, as far as the service and the fleet tell."""

    rounds: list[ClosedRound]
    totals: FleetTotals
    summary: PopulationSummary
    statement: PrivacyStatement


class Federation:
    """A service with one population, and its fleet, in one folder."""

    def __init__(self, settings: DemoSettings, folder: Path, words: PublicWords, *, seed: int):
        """Makes the service's database, key and clock, and lays out the devices' world."""
        self._settings = settings
        self._folder = folder
        self._seed = seed
        self._clock_path = folder / "clock"
        folder.mkdir(parents=True)
        set_file_clock(self._clock_path, START)
        self._paths = operations.initialise(
            folder / "service", clock_path=self._clock_path, privacy_delta=settings.delta
        )
        self._config = load_config(self._paths.config_path)
        self._words = words
        self._vocabulary_path = folder / "vocabulary.model"
        self._vocabulary_path.write_bytes(words.vocabulary.model)
        self._devices: list[EmulatedDevice] = []
        self._enrolment_token = ""

    def add_devices(self, texts_by_person: dict[str, list[str]], advance: Callable[[], None]) -> None:
        """Gives each person a device with a typing log of their own."""
        for index, texts in enumerate(texts_by_person.values()):
            generator = random.Random(f"{self._seed} {index}")  # noqa: S311  # draws surroundings, guards nothing
            seconds_per_step = generator.uniform(*SECONDS_PER_STEP)
            device = EmulatedDevice(
                index=index,
                folder=self._folder / "devices" / f"{index:05d}",
                trace=nightly_trace(generator, first_midnight=FIRST_MIDNIGHT, nights=NIGHTS),
                hardware=Hardware(seconds_per_step=seconds_per_step),
                least_steps=len(texts) // self._settings.plan_training.batch_size,  # a message is a sequence or more
            )
            make_device(device, texts, now=START)
            self._devices.append(device)
            advance()

    @contextmanager
    def service(self, weights: Weights, training_graph: bytes) -> Iterator[RunningService]:
        """Creates the population's task and runs the real service until the block ends."""
        operations.add_population(self._config, POPULATION)
        made = operations.create_enrolment_token(self._config, POPULATION, uses=len(self._devices), days=NIGHTS)
        self._enrolment_token = made.token
        operations.create_task(
            self._config,
            population=POPULATION,
            plan=self._settings.plan,
            training_graph=training_graph,
            checkpoint=weights,
            parameters=self._settings.parameters,
            optimizer=self._settings.optimizer,
        )
        with running_service(self._paths.config_path, self._folder / "service.log") as service:
            yield service

    def run(self, service: RunningService, *, num_workers: int, on_round: Callable[[int], None]) -> FederatedRun:
        """Runs rounds until enough have closed.

        Raises:
          TooFewRounds: the fleet's nights ended before.
          ServiceStopped: the service ended while the fleet ran.

        """
        world = World(
            service_url=service.url,
            population=POPULATION,
            public_key=self._paths.public_key,
            enrolment_token=self._enrolment_token,
            vocabulary_path=self._vocabulary_path,
        )
        fleet = Fleet(
            world,
            self._devices,
            start=START,
            clock_path=self._clock_path,
            seed=self._seed,
            vanish_rate=self._settings.vanish_rate,
            num_workers=num_workers,
        )
        watch = _RoundWatch(self, service, fleet.totals, on_round)
        fleet.run(watch)
        if len(watch.rounds) < self._settings.rounds:
            raise TooFewRounds(f"{self._settings.rounds} rounds were to close, {len(watch.rounds)} did")
        statement = operations.privacy_statement(self._config, POPULATION)
        if statement is None:
            raise TooFewRounds("no round released anything")
        (summary,) = operations.summaries(self._config)
        return FederatedRun(rounds=watch.rounds, totals=fleet.totals, summary=summary, statement=statement)

    def current_version(self) -> int:
        """Which model version is the newest: how many rounds have closed."""
        return operations.current_version(self._config, POPULATION)

    def current_model(self) -> tuple[int, Weights]:
        """The newest checkpoint, as the operator would fetch it."""
        return operations.current_checkpoint(self._config, POPULATION)

    def release(self, service: RunningService, prediction_model: bytes, folder: Path) -> None:
        """Publishes a release, then fetches it as a device does and leaves it in `folder`."""
        files = {
            "prediction_model": prediction_model,
            "vocabulary": self._words.vocabulary.model,
            "casing": self._words.casing.to_tsv(),
        }
        operations.publish_release(self._config, population=POPULATION, files=files)
        key = decode_public_key(self._paths.public_key)
        client = ServiceClient(service.url, new_session())
        signed, release = fetch_release(client, key, population=POPULATION)
        fetched = {name: getattr(release, name) for name in ("prediction_model", "vocabulary", "casing")}
        save_release(folder, signed, {**fetched, "privacy_statement": release.privacy_statement}, key)
        page = statement_page(
            msgspec.json.decode(release.privacy_statement, type=PrivacyStatement), population=POPULATION
        )
        (folder / "privacy_statement.html").write_text(page, encoding="utf-8")

    @property
    def settings(self) -> DemoSettings:
        """What it runs with."""
        return self._settings


class TooFewRounds(Exception):
    """The fleet could not close as many rounds as were asked for."""


class _RoundWatch:
    """Asked after each step of the fleet: notices closed rounds, keeps their checkpoints, says when it is enough."""

    def __init__(
        self, federation: Federation, service: RunningService, totals: FleetTotals, on_round: Callable[[int], None]
    ):
        self.rounds: list[ClosedRound] = []
        self._service = service
        self._federation = federation
        self._totals = totals
        self._on_round = on_round
        self._reports = 0
        self._interrupted_before = 0
        self._runs_before = 0
        self._closed_at = time.perf_counter()

    def __call__(self, result: StepResult) -> bool:
        settings = self._federation.settings
        if result.outcome.event is Event.UNAVAILABLE:
            self._service.require_alive()
        if result.outcome.event in _REPORTS:
            self._reports += 1
        # No round closes with fewer reports. A group's are counted together, at whichever step comes after its end.
        if self._reports >= settings.parameters.minimum_reports:
            self._look()
        return len(self.rounds) >= settings.rounds

    def _look(self) -> None:
        if self._federation.current_version() == len(self.rounds):
            return
        _, weights = self._federation.current_model()
        now = time.perf_counter()
        runs = self._totals.training_runs[self._runs_before :]
        interrupted = self._totals.events[Event.INTERRUPTED]
        self.rounds.append(
            ClosedRound(
                weights=weights,
                interrupted=interrupted - self._interrupted_before,
                loss=sum(run["first_loss"] for run in runs) / len(runs) if runs else None,
                seconds=now - self._closed_at,
            )
        )
        self._reports, self._closed_at = 0, now
        self._interrupted_before, self._runs_before = interrupted, len(self._totals.training_runs)
        self._on_round(len(self.rounds))
