"""What a rehearsal's report says, typed.

`report.json` follows the seed to the bit; `timings.json` is what this machine took.
"""

from typing import Annotated, Literal

import msgspec

from evaluation.checked_json import decode_checked, encode_checked

Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]


class FleetRound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round.

    Attributes:
      population: whose.
      number: from 1, in its population.
      opened_h: when its first device was selected, in virtual hours since the beginning.
      duration_h: until it closed or was abandoned; None if it is open still.
      phase: how it stands: `closed`, or what became of it.
      because: why it was abandoned; empty if it was not.
      selected: devices.
      reported: devices whose update was counted.
      top1: share of held-out words that the model foresees first after this round; None unless it closed.
      epsilon: what the worst device had spent by its end; None for no guarantee.
      bytes_up: of reports.

    """

    population: str
    number: Annotated[int, msgspec.Meta(ge=1)]
    opened_h: float
    duration_h: NonNegative | None
    phase: str
    because: str
    selected: Count
    reported: Count
    top1: Share | None
    epsilon: NonNegative | None
    bytes_up: Count


class FleetPopulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One population at the end.

    Attributes:
      name: of the population.
      devices: that it has.
      top1_before: share of held-out words foreseen first before the first round.
      top1_after: likewise with the newest model.
      targets: words asked for.
      epsilon: spent by the worst device; None for no guarantee.
      delta: at which it is told.
      max_participations: the most reports of any one device.
      refusals: what the service refused, by kind.
      groups: of secure aggregation: how many are `done`, `under_way`, or failed, by why; none with plain reports.

    """

    name: str
    devices: Count
    top1_before: Share
    top1_after: Share
    targets: Count
    epsilon: NonNegative | None
    delta: Share
    max_participations: Count
    refusals: dict[str, Count]
    groups: dict[str, Count] = {}


class DropOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selected devices that did not report, by the phase in which they were lost, and by why."""

    phase: Literal["selected", "configured", "trained", "in session"]
    because: str
    devices: Count


class FairnessGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Half of the fleet.

    Attributes:
      name: such as `slow`.
      devices: in it.
      seconds_per_step: mean.
      eligible_share: mean share of the time in which its devices may act; None if nobody foresaw it.
      selected: times that its devices were selected, a device.
      reported: reports, a device.
      keystrokes_saved: share of its people's keystrokes; None if none was followed.

    """

    name: str
    devices: Count
    seconds_per_step: NonNegative
    eligible_share: Share | None
    selected: NonNegative
    reported: NonNegative
    keystrokes_saved: Share | None


class LiveDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was typed on a day; see `emulator.person.Typed`. Shares are None where no word was followed."""

    day: int
    messages: Count
    words: Count
    accepted_share: Share | None
    saved_share: Share | None


class AdversaryGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Devices of one kind: `reported` are updates that the service counted, `refused` requests that it did not."""

    kind: str
    devices: Count
    reported: Count
    refused: Count


class Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Totals of the whole fleet.

    Attributes:
      bytes_up: sent by devices.
      bytes_down: received by devices.
      training_steps: of all training runs that ended well.
      training_device_s: virtual seconds that devices computed for them: what costs energy.

    """

    bytes_up: Count
    bytes_down: Count
    training_steps: Count
    training_device_s: NonNegative


class FleetReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole rehearsal. If it is reproducible, the same scenario, seed, software and machine give the same bytes.

    Attributes:
      format_version: of this schema.
      scenario: its name.
      about: what it rehearses.
      seed: of everything drawn.
      days: virtual.
      devices: in the fleet.
      is_reproducible: whether the same seed gives the same report: not in real time, nor with several lanes.
      is_real_time: whether it lived by the machine's clock.
      is_of_phone: whether all devices had the conditions of one phone, asked by adb, and not made-up ones.
      populations: at the end.
      rounds: by population and number.
      events: how often each outcome of a device's step came.
      drop_outs: by phase.
      fairness: halves of the fleet: fast and slow, often and rarely available.
      live: by day.
      adversaries: by kind, honest devices included where there are others.
      refused: how often devices refused what the service said, by why.
      traffic: totals.
      happened: what befell the service, in order.
      software: version by package.

    """

    format_version: Literal[1] = 1
    scenario: str
    about: str
    seed: Count
    days: NonNegative
    devices: Count
    is_reproducible: bool
    is_real_time: bool = False
    is_of_phone: bool = False
    refused: dict[str, Count] = {}
    populations: tuple[FleetPopulation, ...]
    rounds: tuple[FleetRound, ...]
    events: dict[str, Count]
    drop_outs: tuple[DropOut, ...]
    fairness: tuple[FairnessGroup, ...]
    live: tuple[LiveDay, ...]
    adversaries: tuple[AdversaryGroup, ...]
    traffic: Traffic
    happened: tuple[str, ...]
    software: dict[str, str]

    def __post_init__(self) -> None:
        names = {each.name for each in self.populations}
        for each in self.rounds:
            if each.population not in names:
                raise ValueError(f"a round must be of one of the populations, got {each.population}")


class Timings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this machine took.

    Attributes:
      seconds: wall time by stage.
      device_cpu_s: seconds that processors worked on devices' steps.
      training_cpu_s: of these, on training: the energy proxy in seconds of this machine's processor.
      steps: of devices.

    """

    seconds: dict[str, NonNegative]
    device_cpu_s: NonNegative
    training_cpu_s: NonNegative
    steps: Count


class InvalidFleetReport(Exception):
    """A report with a value that its schema does not allow."""


def encode_fleet_report(report: FleetReport) -> bytes:
    """Writes a report as indented JSON.

    Raises:
      InvalidFleetReport: a value is out of its bound, or not finite.

    """
    return encode_checked(report, InvalidFleetReport, "report of a fleet")


def decode_fleet_report(payload: bytes) -> FleetReport:
    """Reads `report.json`.

    Raises:
      InvalidFleetReport: not a report of this format.

    """
    return decode_checked(payload, FleetReport, InvalidFleetReport, "report of a fleet")
