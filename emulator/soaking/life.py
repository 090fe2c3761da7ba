"""A soak's life: the service, the relay and the killer around a fleet, and what is taken down meanwhile."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from aggregation_service.storage.database import Database
from device_runtime.rounds.outcome import Event
from emulator.device import EmulatedDevice, StepResult
from emulator.fleet import Fleet
from emulator.rehearsing.host import ServiceHost
from emulator.rehearsing.world import VIRTUAL_START, Layout
from emulator.soaking.audit import Audit, memory_check
from emulator.soaking.databases import SoakDatabase
from emulator.soaking.faults import Fault, draw_fates
from emulator.soaking.fleet import Pace, draw_fleet, world_of
from emulator.soaking.killing import Killer, Site
from emulator.soaking.memory import Memory
from emulator.soaking.processes import residents
from emulator.soaking.relay import Relay
from emulator.soaking.settings import FAULT_SHARE, LANES, VANISH_RATE, WORKERS, SoakSettings
from emulator.soaking.witness import Witness
from emulator.trace import HOUR_S
from evaluation.report import software_versions
from evaluation.soak.outcome import SoakCheck, SoakReport

_HOURS_PER_ROUND = 4.0
"""Of virtual time, at most, on average: then the soak gives up."""
_BACK_WITHIN_S = 60.0
_ASKED_AGAIN_S = 0.5

Progress = Callable[[int, int, int], None]
"""Told how many rounds have closed and ended, and how often somebody was killed."""


@dataclass(kw_only=True)
class Life:
    """What a soak takes down, and whom it asks.

    Attributes:
      settings: of the soak.
      host: the service.
      books: the service's database.
      killer: who kills.
      witness: what devices know.
      audit: what was compared.
      progress: told how far it is.
      memory: of processes.

    """

    settings: SoakSettings
    host: ServiceHost
    books: Database
    killer: Killer
    witness: Witness
    audit: Audit
    progress: Progress
    memory: Memory = field(default_factory=Memory)

    def observe(self, device: EmulatedDevice, now: float, result: StepResult) -> None:
        """After each step of a device: takes it down, and looks whether a round ended."""
        self.witness.see(device, now, result)
        self.killer.require_well()
        if result.outcome.event is not Event.UNAVAILABLE:
            with suppress(SQLAlchemyError):  # of a database that was just killed
                self._look()

    def is_done(self, _result: StepResult) -> bool:
        """Whether enough rounds have closed."""
        return self.audit.closed >= self.settings.rounds

    def finish(self, now: float) -> list[SoakCheck]:
        """All checks of the fleet's life, once what was killed last is back."""
        self.killer.wait()
        deadline = time.monotonic() + _BACK_WITHIN_S
        while True:
            try:
                with self.books.read() as connection:
                    checks = self.audit.finish(connection, now=now, wanted=self.settings.rounds)
                return [*checks, memory_check(self.memory.slopes())]
            except SQLAlchemyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_ASKED_AGAIN_S)

    def _look(self) -> None:
        with self.books.read() as connection:
            if not self.audit.look(connection):
                return
        self.memory.note(self.audit.ended, residents(self.host.pid, speakers=LANES))
        if self.audit.closed >= self.settings.rounds_with_kills:
            self.killer.rest()
        self.progress(self.audit.closed, self.audit.ended, self.killer.done.total())


def live(
    settings: SoakSettings,
    layout: Layout,
    database: SoakDatabase,
    witness: Witness,
    *,
    num_workers: int,
    progress: Progress,
) -> SoakReport:
    """Lives until enough rounds have closed, or until that takes too long.

    Returns:
      The report, without what can only be known once all of this has ended.

    Raises:
      ServiceStopped: the service did not come back after it was killed.

    """
    with ExitStack() as stack:
        books = Database(layout.config.database_url)
        stack.callback(books.close)
        host = ServiceHost(layout.config_path, layout.world / "service.log", seed=None, workers=WORKERS)
        stack.callback(host.stop)
        host.start()
        targets = Site(host, database, books).targets
        killer = stack.enter_context(
            Killer(targets, seed=settings.seed, connections_per_kill=settings.connections_per_kill)
        )
        relay = stack.enter_context(Relay(host.port, draw_fates(settings.seed, FAULT_SHARE), killer.on_connection))
        life = Life(
            settings=settings,
            host=host,
            books=books,
            killer=killer,
            witness=witness,
            audit=Audit(witness),
            progress=progress,
        )
        fleet = Fleet(
            world_of(layout, settings, relay.url),
            draw_fleet(layout, settings),
            start=VIRTUAL_START,
            clock_path=layout.clock,
            seed=settings.seed,
            vanish_rate=VANISH_RATE,
            num_workers=num_workers,
            lanes=LANES,
        )
        fleet.run(
            life.is_done,
            until=VIRTUAL_START + settings.rounds * _HOURS_PER_ROUND * HOUR_S,
            observe=life.observe,
            on_time=Pace(VIRTUAL_START),
        )
        return _report(life, relay, fleet.now)


def _report(life: Life, relay: Relay, now: float) -> SoakReport:
    settings, audit = life.settings, life.audit
    checks = tuple(life.finish(now))
    return SoakReport(
        devices=settings.devices,
        size=settings.size,
        database=settings.database_name,
        seed=settings.seed,
        rounds_wanted=settings.rounds,
        virtual_hours=(now - VIRTUAL_START) / HOUR_S,
        seconds=0.0,
        rounds=audit.rounds(),
        connections=relay.connections,
        faults={fault.value: relay.met[fault] for fault in Fault},
        kills=dict(sorted(life.killer.done.items())),
        kills_until_round=settings.rounds_with_kills,
        events=dict(life.witness.events.most_common()),
        longest_unserved_s=life.witness.longest_unserved_s,
        checks=checks,
        slopes=tuple(life.memory.slopes()),
        memory=tuple(life.memory.totals()),
        software=software_versions(),
    )
