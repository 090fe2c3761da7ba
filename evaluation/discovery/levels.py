"""One discovery in one process: real votes through the real codec, the service's noise, the protocol's next level."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aggregation_service.privacy.grid_noise import Grid
from aggregation_service.rounds.accumulator import SumArray
from evaluation.discovery.settings import DiscoverySettings
from evaluation.discovery.typed import TypedWords
from protocol.discovery.advancing import Discovered, advance
from protocol.discovery.candidates import CandidateList, decode_candidates, encode_candidates, first_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.discovery.votes import VoteCodec, vote_vector
from protocol.keystream import Keystream
from protocol.lanes import lane_dtype

_LABEL = b"keychorus rehearsal of discovery v1"


class Discovery(NamedTuple):
    """What came out; words never leave the process.

    Attributes:
      words: with their noised counts, in the order in which they came out.
      prefixes: of each level after the first, as its plan would tell every device.

    """

    words: tuple[Discovered, ...]
    prefixes: tuple[tuple[str, ...], ...]


class Tally:
    """Exact sums of all devices' votes, as secure aggregation opens them; a list that comes again is not summed again.

    Masks are left out: they cancel in every sum that is opened.
    """

    def __init__(self, typed: TypedWords, settings: DiscoverySettings):
        """Takes the devices."""
        self._typed = typed
        self._settings = settings
        self._first: tuple[CandidateList, SumArray] | None = None

    def sum(self, candidates: CandidateList) -> SumArray:
        """float64 [candidates.size]: how many devices vote for each."""
        if self._first is None:
            self._first = candidates, self._add_up(candidates)
        known, counts = self._first
        return counts if candidates == known else self._add_up(candidates)

    def _add_up(self, candidates: CandidateList) -> SumArray:
        received = decode_candidates(encode_candidates(candidates))  # as each device has it
        max_words = self._settings.parameters.max_words
        codec = VoteCodec(
            value_bits=self._settings.value_bits,
            max_cohort=self._typed.devices,
            vector_length=received.size,
            max_words=max_words,
        )
        total = np.zeros(received.size, lane_dtype(codec.value_bits))
        for words, devices in self._alike(received).items():
            total += codec.encode(vote_vector(words, received, max_words=max_words)) * total.dtype.type(devices)
        return codec.decode_sum(total, self._typed.devices)

    def _alike(self, received: CandidateList) -> Counter[tuple[str, ...]]:
        """How many devices vote with each choice of words, of those that the list leads on; others send zeros."""
        votes = (tuple(word for word in words if received.index_of(word) is not None) for words in self._typed.chosen)
        return Counter(words for words in votes if words)


def discover(
    tally: Tally,
    parameters: DiscoveryParameters,
    *,
    grid: Grid,
    threshold: float,
    seed: bytes,
    on_level: Callable[[], None],
) -> Discovery:
    """Runs all levels.

    Args:
      tally: the devices.
      parameters: of the discovery.
      grid: of the noise on each level's sum.
      threshold: T, in devices.
      seed: 32 bytes; noise is drawn from it, so that a rehearsal can be repeated. A service's is not.
      on_level: called after each level, or for one that is not reached, for a progress bar.

    """
    noise = Keystream(seed, _LABEL)
    candidates: CandidateList | None = first_candidates(parameters.letters, parameters.steps[0])
    words: list[Discovered] = []
    prefixes = []
    following: tuple[int | None, ...] = (*parameters.steps[1:], None)
    for next_step in following:
        if candidates is not None:
            noised = grid.with_fresh_noise(tally.sum(candidates), noise.read)
            level = advance(noised, candidates, threshold, next_step=next_step, max_prefixes=parameters.max_prefixes)
            words.extend(level.words)
            candidates = level.candidates
            prefixes.append(candidates.prefixes if candidates else ())
        on_level()
    return Discovery(tuple(words), tuple(prefixes[: len(parameters.steps) - 1]))
