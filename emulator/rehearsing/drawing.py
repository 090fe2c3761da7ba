"""Who is in a scenario's fleet: each device's surroundings, machine, person and intentions, by seed."""

import itertools
import random
from pathlib import Path

import msgspec

from emulator.adversaries import HONEST, Adversary
from emulator.adversaries.kinds import make_adversary
from emulator.device import EmulatedDevice, Surroundings
from emulator.person import Person
from emulator.rehearsing.world import Layout
from emulator.scenarios.schema import Scenario
from emulator.trace import DAY_S, HOUR_S
from emulator.traces.csv_file import CsvTraces
from emulator.traces.diurnal import DiurnalTrace, Habits
from emulator.traces.hardware import HardwareMix, draw_hardware
from emulator.traces.phone import PhoneTrace

_STEPS_AT_LEAST = 4


def population_index(scenario: Scenario, index: int) -> int:
    """Which of the scenario's populations a device belongs to: the first devices to the first, and so on."""
    reached = list(itertools.accumulate(each.share for each in scenario.populations))
    place = (index + 0.5) / scenario.devices * reached[-1]
    return next(number for number, until in enumerate(reached) if place < until)


def draw_devices(
    layout: Layout, scenario: Scenario, start: float, phone: PhoneTrace | None = None
) -> list[EmulatedDevice]:
    """Draws all devices of the scenario; nothing is written for any of them before it first acts.

    Args:
      layout: where their disks will be, and what people type.
      scenario: whose fleet it is.
      start: when it begins, in seconds since 1970.
      phone: whose surroundings are those of all devices; None for what the scenario says.

    Raises:
      InvalidTraces: the file of traces is not usable.

    """
    drawing = _Drawing(layout, scenario, start, phone)
    return [drawing.device(index) for index in range(scenario.devices)]


def join_times(scenario: Scenario, start: float) -> list[float]:
    """When each device first acts: at the start, or as one of those who join later."""
    traces, times = scenario.traces, []
    for index in range(scenario.devices):
        generator = _generator(scenario, index, "join")
        is_late = generator.random() < traces.join_share
        late_h = traces.join_at_h + generator.random() * traces.join_within_h
        times.append(start + (HOUR_S * late_h if is_late else 0.0))
    return times


class _Drawing:
    """What is the same for all devices of a scenario."""

    def __init__(self, layout: Layout, scenario: Scenario, start: float, phone: PhoneTrace | None):
        csv = scenario.traces.csv
        self._phone = phone
        self._layout = layout
        self._scenario = scenario
        self._start = start
        self._file = None if csv is None or phone is not None else CsvTraces(Path(csv), start=start)
        self._people = {each.name: layout.count_people(each.name) for each in scenario.populations}
        self._mix = HardwareMix(**msgspec.structs.asdict(scenario.hardware))
        self._adversaries = _adversaries(scenario)

    def device(self, index: int) -> EmulatedDevice:
        scenario = self._scenario
        zone_s = HOUR_S * scenario.traces.zones_h[index % len(scenario.traces.zones_h)]
        return EmulatedDevice(
            index=index,
            folder=self._layout.device(index),
            trace=self._surroundings(index, zone_s),
            hardware=draw_hardware(_generator(scenario, index, "hardware"), self._mix),
            least_steps=_STEPS_AT_LEAST,
            person=self._person(index, zone_s),
            adversary=self._adversaries.get(index, HONEST),
        )

    def _person(self, index: int, zone_s: float) -> Person:
        scenario, typists = self._scenario, self._scenario.typists
        population = scenario.populations[population_index(scenario, index)].name
        return Person(
            seed=f"{scenario.seed} {index}",
            texts_path=self._layout.texts(population, index % self._people[population]),
            zone_s=zone_s,
            since=self._start,
            messages_per_day=typists.messages_per_day,
            history=typists.history,
            watched=typists.watched,
        )

    def _surroundings(self, index: int, zone_s: float) -> Surroundings:
        if self._phone is not None:
            return self._phone
        return self._diurnal(index, zone_s) if self._file is None else self._file.of(index)

    def _diurnal(self, index: int, zone_s: float) -> Surroundings:
        traces = self._scenario.traces
        is_absent = _generator(self._scenario, index, "absent").random() < traces.absent_share
        since = self._start + DAY_S * traces.absent_from_day
        habits = Habits(
            nights_charged=traces.nights_charged,
            day_rests=traces.day_rests,
            unmetered_by_day=traces.unmetered_by_day,
            losses_per_day=traces.losses_per_day,
        )
        return DiurnalTrace(
            seed=f"{self._scenario.seed} {index}",
            zone_s=zone_s,
            habits=habits,
            absent=((since, since + DAY_S * traces.absent_days),) if is_absent and traces.absent_days else (),
        )


def _adversaries(scenario: Scenario) -> dict[int, Adversary]:
    """Who does not keep to the plan: the nearest number of devices to each share."""
    order = list(range(scenario.devices))
    random.Random(f"{scenario.seed} adversaries").shuffle(order)  # noqa: S311  # draws roles, guards nothing
    found: dict[int, Adversary] = {}
    for each in scenario.adversaries:
        number = round(each.share * scenario.devices)
        taken, order = order[:number], order[number:]
        found |= {index: make_adversary(each.kind, scenario.task.l2_clip_norm) for index in taken}
    return found


def _generator(scenario: Scenario, index: int, what: str) -> random.Random:
    return random.Random(f"{scenario.seed} {index} {what}")  # noqa: S311  # draws surroundings, guards nothing
