"""A scenario from its first device to its report; stopped anywhere, it goes on from there."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aggregation_service import operations
from aggregation_service.storage import models
from aggregation_service.storage.database import Database
from device_runtime.rounds.outcome import Event
from emulator.device import EmulatedDevice, StepResult
from emulator.engine import LocalEngine, OpenEngine
from emulator.fleet import NEVER, Fleet
from emulator.rehearsing.drawing import draw_devices, join_times, population_index
from emulator.rehearsing.ground import Yardstick, lay_grounds
from emulator.rehearsing.host import ServiceHost
from emulator.rehearsing.reporting import make_fleet_report, make_timings
from emulator.rehearsing.saved import STATE_FILE, Saved, find_saved, fingerprint, save
from emulator.rehearsing.timeline import Timeline
from emulator.rehearsing.watching import Observations
from emulator.rehearsing.world import VIRTUAL_START, Layout, make_world, worlds_of
from emulator.scenarios.schema import Scenario
from emulator.trace import DAY_S
from emulator.traces.phone import PhoneTrace
from evaluation.fleet.outcome import FleetReport
from evaluation.fleet.report import write_fleet_report
from protocol.weights import Weights

_MAY_CLOSE = (Event.REPORTED, Event.MASKED, Event.CONFIRMED, Event.TOLD_TO_WAIT, Event.SELECTED, Event.AWAITING_GROUP)
"""Steps after which a round may have closed."""

Progress = Callable[[float, int], None]
"""Told the virtual days that have passed, and how many rounds have closed."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a scenario is lived, whatever it says.

    Attributes:
      name: of the scenario, in its report.
      folder: takes the report, and the world for as long as the rehearsal lasts.
      num_workers: processes that train.
      lanes: processes that speak to the service; with more than 1 the report follows no seed.
      real_time: by the machine's clock; nothing can then be told again.
      phone: whose conditions are those of all devices, in place of made-up ones; real time only.
      open_engine: where devices compute; the report does not depend on it.

    """

    name: str
    folder: Path
    num_workers: int
    lanes: int = 1
    real_time: bool = False
    phone: PhoneTrace | None = None
    open_engine: OpenEngine = LocalEngine

    def __post_init__(self) -> None:
        if self.phone is not None and not self.real_time:
            raise ValueError("real_time must be true with a phone, got false")

    @property
    def is_reproducible(self) -> bool:
        """Whether the same seed gives the same report."""
        return not self.real_time and self.lanes == 1


@dataclass(frozen=True, kw_only=True)
class Lived:
    """A rehearsal that came to its end."""

    report: FleetReport
    json_path: Path
    html_path: Path


def run_scenario(scenario: Scenario, options: Options, progress: Progress = lambda _days, _rounds: None) -> Lived:
    """Lives a scenario, or what is left of it, and writes its report.

    Guarantees:
      Whatever ends it before its end, Ctrl-C too, ends the service and all processes within 5 s and leaves in the
      folder what a later call goes on from.

    Raises:
      InvalidTraces, CorpusError, NoPeople, UnknownLanguage: what the scenario names is not usable.
      OtherRehearsal: the folder holds another one that was stopped.
      ServiceStopped: the service ended, and no event of the scenario asked for that.

    """
    rehearsal = _Rehearsal(scenario, options, progress)
    with rehearsal.prepared():
        rehearsal.live()
    return rehearsal.report()


class _Rehearsal:
    """The stages, and what they share."""

    def __init__(self, scenario: Scenario, options: Options, progress: Progress):
        self._scenario = scenario
        self._options = options
        self._progress = progress
        self._layout = Layout(folder=options.folder.absolute(), is_virtual=not options.real_time)
        self._mark = fingerprint(scenario, real_time=options.real_time)
        self._began = time.perf_counter()

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """With ground, world, devices and a running service; saves how far it came, and ends the service."""
        layout, scenario = self._layout, self._scenario
        layout.folder.mkdir(parents=True, exist_ok=True)
        found = find_saved(layout.folder, self._mark)
        self._grounds = lay_grounds(scenario, layout.folder / "ground")
        self._yardsticks = {laid.population.name: Yardstick(laid) for laid in self._grounds}
        self._saved = self._begin() if found is None else found
        self._devices = draw_devices(layout, scenario, self._saved.start, phone=self._options.phone)
        self._note_time("preparing")
        seed = str(scenario.seed) if self._options.is_reproducible else None
        self._books = Database(layout.config.database_url)  # kept open: it is asked after every other step
        host = ServiceHost(
            layout.config_path,
            layout.world / "service.log",
            seed=seed,
            lie_path=layout.world / "lie",
            starts=self._saved.starts,
        )
        self._host = host
        try:
            if self._saved.service_runs or self._options.real_time:
                host.start()
            yield
        finally:
            self._saved.starts, self._saved.service_runs = host.starts, host.is_running
            self._note_time("living")
            try:
                save(self._saved, layout.folder)  # before a second Ctrl-C can come
            finally:
                self._books.close()
                host.stop()

    def live(self) -> None:
        """Lives until the scenario's last day."""
        layout, scenario, saved = self._layout, self._scenario, self._saved
        worlds = worlds_of(
            layout, scenario, url=self._host.url, start=saved.start, is_seeded=self._options.is_reproducible
        )
        timeline = Timeline(
            scenario=scenario,
            grounds=self._grounds,
            config=layout.config,
            host=self._host,
            start=saved.start,
            is_seeded=self._options.is_reproducible,
            happened=saved.happened,
        )
        fleet = Fleet(
            lambda device: worlds[population_index(scenario, device.index)],
            self._devices,
            start=time.time() if self._options.real_time else saved.now,
            clock_path=layout.clock,
            seed=scenario.seed,
            vanish_rate=scenario.typists.vanish_rate,
            num_workers=self._options.num_workers,
            lanes=self._options.lanes,
            open_engine=self._options.open_engine,
            wake_at=[NEVER if at is None else at for at in saved.wake_at],
        )
        try:
            fleet.run(
                until=saved.start + DAY_S * scenario.days,
                observe=self._observe,
                appointments=timeline.appointments(since=saved.now),
                on_time=self._tell,
            )
        finally:
            saved.now = fleet.now
            saved.wake_at = [None if at == NEVER else at for at in fleet.wake_at]

    def report(self) -> Lived:
        """Writes the report, and removes what the rehearsal needed no longer."""
        layout, saved = self._layout, self._saved
        report = make_fleet_report(
            self._scenario,
            self._options.name,
            layout.config,
            self._devices,
            saved,
            before={name: self._yardsticks[name].top1(self._first(name)) for name in self._yardsticks},
            is_reproducible=self._options.is_reproducible,
            is_real_time=self._options.real_time,
            is_of_phone=self._options.phone is not None,
        )
        self._note_time("reporting")
        json_path, html_path = write_fleet_report(report, make_timings(saved), layout.folder)
        (layout.folder / STATE_FILE).unlink()
        shutil.rmtree(layout.world)
        return Lived(report=report, json_path=json_path, html_path=html_path)

    def _begin(self) -> Saved:
        """Makes a world where none is; one that was left half made goes."""
        layout, scenario = self._layout, self._scenario
        start = time.time() if self._options.real_time else VIRTUAL_START
        shutil.rmtree(layout.world, ignore_errors=True)
        make_world(layout, scenario, self._grounds, start)
        return Saved(
            fingerprint=self._mark,
            start=start,
            now=start,
            wake_at=list(join_times(scenario, start)),
            observations=Observations(),
        )

    def _observe(self, device: EmulatedDevice, _now: float, result: StepResult) -> None:
        self._saved.observations.see(device, result)
        if result.outcome.event in _MAY_CLOSE:
            self._measure(self._scenario.populations[population_index(self._scenario, device.index)].name)
        if result.outcome.event is Event.UNAVAILABLE:
            self._host.require_alive()

    def _measure(self, population: str) -> None:
        """Measures a model that is new since the last look."""
        known = self._saved.recall.setdefault(population, {})
        with self._books.read() as connection:
            version = models.newest_version(connection, population)
        if not version or version in known:
            return
        _, weights = operations.current_checkpoint(self._layout.config, population)
        known[version] = self._yardsticks[population].top1(weights)[0]

    def _tell(self, now: float) -> None:
        closed = sum(len(known) for known in self._saved.recall.values())
        self._progress((now - self._saved.start) / DAY_S, closed)

    def _first(self, population: str) -> Weights:
        return next(laid for laid in self._grounds if laid.population.name == population).ground.pretrained

    def _note_time(self, stage: str) -> None:
        now = time.perf_counter()
        seconds = self._saved.seconds
        seconds[stage] = seconds.get(stage, 0.0) + now - self._began
        self._began = now
