"""What a rehearsal of discovery found, in numbers: `discovery.json` is these structs, and the page shows nothing else.

No word is in here: what people typed stays in the process that read it.
"""

from typing import Annotated

import msgspec

from evaluation.report_schema import Count, Share
from protocol.discovery.parameters import DiscoveryParameters


class Found(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well one arm found the words that at least so many people typed.

    Attributes:
      people: N.
      true_words: unknown words that at least N people typed.
      found_words: of those, that came out.
      precision: share of what came out that at least N people typed; None if nothing came out.
      recall: share of `true_words` that came out; None if there are none.

    """

    people: Count
    true_words: Count
    found_words: Count
    precision: Share | None
    recall: Share | None


class DiscoveryArm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One discovery.

    Attributes:
      epsilon: that was asked for.
      population: devices for which epsilon holds; more than there are where noise was scaled.
      noise_multiplier: z, in units of the norm of a device's votes, for the population.
      noise_deviation: of each count, in devices of the population.
      epsilon_spent: what all levels cost, as a ledger would tell.
      scale: simulated devices over the population: what noise was multiplied by.
      threshold: in simulated devices.
      words: that came out.
      lone_words: of those, typed by one person at most.
      fewest_people: who typed any of them; None if none came out.
      prefixes: of each level after the first.
      lone_prefixes: of those, of words that one device at most votes for.
      found: by number of people, rising.
      seconds: wall time.

    """

    epsilon: float
    population: Count
    noise_multiplier: float
    noise_deviation: float
    epsilon_spent: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    threshold: float
    words: Count
    lone_words: Count
    fewest_people: Count | None
    prefixes: tuple[Count, ...]
    lone_prefixes: Count
    found: tuple[Found, ...]
    seconds: float

    def at(self, people: int) -> Found:
        """What was found of words of at least so many people.

        Raises:
          KeyError: it was not counted.

        """
        return {found.people: found for found in self.found}[people]


class DiscoveryReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole rehearsal.

    Attributes:
      format_version: of this schema.
      corpus: its name.
      devices: simulated.
      voters: of those, with an unknown word to vote for.
      unknown_words: different ones, typed by anybody.
      vocabulary_size: ids of the vocabulary.
      parameters: of each discovery.
      delta: at which epsilon is told.
      frequent: N of the table.
      seed: with it, noise and ties are the same.
      arms: by population, then by epsilon.
      software: version by package.

    """

    format_version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    corpus: str
    devices: Count
    voters: Count
    unknown_words: Count
    vocabulary_size: Count
    parameters: DiscoveryParameters
    delta: float
    frequent: Count
    seed: int
    arms: Annotated[tuple[DiscoveryArm, ...], msgspec.Meta(min_length=1)]
    software: dict[str, str]

    @property
    def lone_words(self) -> int:
        """Words of one person that came out, in all arms: 0, but for the chance that the parameters name."""
        return sum(arm.lone_words + arm.lone_prefixes for arm in self.arms)


def encode_discovery(report: DiscoveryReport) -> bytes:
    """Writes a report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
