"""What a soak's report says, typed: `soak.json`."""

from typing import Annotated, Literal

import msgspec

from evaluation.checked_json import decode_checked, encode_checked

Count = Annotated[int, msgspec.Meta(ge=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
NAME = "soak"


class SoakRound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round that ended.

    Attributes:
      number: from 1.
      because: why it was abandoned; empty if it was closed.
      duration_s: virtual.
      selected: devices.
      counted: reports, as the service says.
      acknowledged: of these, reports whose devices were told so.
      off: how far the released weights are from the old ones plus the mean of the counted updates, in the largest
        weight, in float32 steps of that weight; None unless it was closed.
      least_update: how far they would be at least, in the same unit, if one update were missing or there twice; None
        unless it was closed.

    """

    number: Annotated[int, msgspec.Meta(ge=1)]
    because: str
    duration_s: NonNegative
    selected: Count
    counted: Count
    acknowledged: Count
    off: NonNegative | None
    least_update: NonNegative | None


class SoakCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that had to hold.

    Attributes:
      name: of the check.
      found: what was found, in a sentence.
      failures: a sentence for each time that it did not hold.

    """

    name: str
    found: str
    failures: tuple[str, ...] = ()


class MemorySlope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the resident memory of processes grows with rounds: by least squares, each process with a level of its own.

    Attributes:
      role: whose.
      kb_per_round: kilobytes of 1,000 bytes.
      low: lower end of its interval of 95 %, by Student's t for independent errors.
      high: upper end.
      samples: behind it.
      processes: that these are of.

    """

    role: str
    kb_per_round: float
    low: float
    high: float
    samples: Count
    processes: Count


class MemorySample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resident memory of all processes of a role when a round had ended, in megabytes."""

    role: str
    rounds_ended: Count
    megabytes: NonNegative
    processes: Count


class SoakReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole soak.

    Attributes:
      format_version: of this schema.
      devices: in the fleet.
      size: of the network.
      database: kind of the service's.
      seed: of faults and kills.
      rounds_wanted: to be closed.
      virtual_hours: that the fleet lived.
      seconds: that this machine took.
      rounds: that ended, in order.
      connections: that devices made.
      faults: that connections met, by kind.
      kills: by who was killed.
      kills_until_round: after so many closed rounds nobody was killed any more.
      events: how often each outcome of a device's step came.
      longest_unserved_s: longest time, virtual, in which a device tried and got no answer.
      checks: all of them.
      slopes: by role.
      memory: by role and round.
      software: version by package.

    """

    format_version: Literal[1] = 1
    devices: Count
    size: str
    database: str
    seed: Count
    rounds_wanted: Count
    virtual_hours: NonNegative
    seconds: NonNegative
    rounds: tuple[SoakRound, ...]
    connections: Count
    faults: dict[str, Count]
    kills: dict[str, Count]
    kills_until_round: Count
    events: dict[str, Count]
    longest_unserved_s: NonNegative
    checks: tuple[SoakCheck, ...]
    slopes: tuple[MemorySlope, ...]
    memory: tuple[MemorySample, ...]
    software: dict[str, str]

    @property
    def failures(self) -> list[str]:
        """A sentence for whatever did not hold."""
        return [failure for check in self.checks for failure in check.failures]

    @property
    def closed(self) -> int:
        """Rounds that were closed."""
        return sum(not each.because for each in self.rounds)


class InvalidSoakReport(Exception):
    """A report with a value that its schema does not allow."""


def encode_soak_report(report: SoakReport) -> bytes:
    """Writes a report as indented JSON.

    Raises:
      InvalidSoakReport: a value is out of its bound, or not finite.

    """
    return encode_checked(report, InvalidSoakReport, "report of a soak")


def decode_soak_report(payload: bytes) -> SoakReport:
    """Reads `soak.json`.

    Raises:
      InvalidSoakReport: not a report of this format.

    """
    return decode_checked(payload, SoakReport, InvalidSoakReport, "report of a soak")
