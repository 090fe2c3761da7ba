"""The mechanisms under audit: noise on the grid as the service adds it, and what the ledger proves of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aggregation_service.privacy.accounting import PrivacySpent, spent_on_worst_device
from aggregation_service.privacy.grid_noise import finest_grid, one_report_bound
from aggregation_service.privacy.ledger import CorrelatedSumReleased, GaussianSumReleased, LedgerEvent
from aggregation_service.privacy.mechanisms.memories import IntArray
from aggregation_service.privacy.mechanisms.optimise import optimised_buffered
from aggregation_service.privacy.mechanisms.parameters import Independent, Mechanism, Tree
from aggregation_service.privacy.mechanisms.streams import NoiseStream
from aggregation_service.privacy.sum_noise import SumNoise
from aggregation_service.rounds.accumulator import SumArray
from protocol.keystream import Keystream

RandomBytes = Callable[[int], bytes]
_LABEL = b"keychorus audit v1"
_CONTEXT = "audit"
_UNIT = 1 << 30


class Noise(Protocol):
    """Whoever noises the sums of a task's rounds, one after the other."""

    def add(self, total: SumArray) -> SumArray:
        """The next round's sum, float64 [size], as it is released."""
        ...


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What is promised of a task's rounds: mechanism, noise and participation.

    Attributes:
      mechanism: how noise is correlated.
      noise_multiplier: z >= 0, the deviation of fresh noise over the clipping norm.
      l2_clip_norm: C > 0.
      rounds: n >= 1.
      min_separation: rounds from one participation of a device to its next.
      max_participations: of a device.

    """

    mechanism: Mechanism
    noise_multiplier: float
    l2_clip_norm: float
    rounds: int
    min_separation: int
    max_participations: int

    @property
    def pattern(self) -> SumArray:
        """float64 [rounds]: 1 in the rounds of a device that takes part as early and as often as it may."""
        pattern = np.zeros(self.rounds)
        pattern[:: self.min_separation][: self.max_participations] = 1
        return pattern

    def sum_noise(self, size: int, num_reports: int) -> SumNoise:
        """The noise on each sum of `num_reports` updates of `size` weights.

        Raises:
          ValueError: noise too small or large for any grid, or too many weights or reports.

        """
        if self.noise_multiplier == 0:
            return SumNoise(grid=None, size=size, one_report=self.l2_clip_norm)
        grid = finest_grid(self.noise_multiplier * self.l2_clip_norm)
        bound = one_report_bound(grid, l2_clip_norm=self.l2_clip_norm, size=size, max_reports=num_reports)
        return SumNoise(grid=grid, size=size, one_report=bound)

    def proven(self, size: int, num_reports: int, delta: float) -> PrivacySpent:
        """What accounting makes of the ledger after all rounds, each of `num_reports` updates of `size` weights."""
        return spent_on_worst_device(self.events(size, num_reports), delta)

    def events(self, size: int, num_reports: int) -> list[LedgerEvent]:
        """What the ledger says of the rounds."""
        noise = self.sum_noise(size, num_reports)
        taken_part = np.cumsum(self.pattern).astype(int).tolist()
        return [self._event(noise, number, num_reports, times) for number, times in enumerate(taken_part)]

    def _event(self, noise: SumNoise, number: int, num_reports: int, times: int) -> LedgerEvent:
        """Of round `number`, from 0, by when devices took part up to `times` times."""
        multiplier, norm = noise.in_stream(self.mechanism, number + 1)
        round_id = f"{number:032x}"
        if isinstance(self.mechanism, Independent) or noise.grid is None:
            return GaussianSumReleased(
                round_id=round_id,
                model_version=number,
                num_reports=num_reports,
                max_participations=times,
                noise_multiplier=multiplier,
                l2_clip_norm=norm,
            )
        return CorrelatedSumReleased(
            round_id=round_id,
            task_id=1,
            model_version=number,
            step=number,
            mechanism=self.mechanism,
            num_reports=num_reports,
            max_participations=times,
            stream_participations=times,
            min_separation=self.min_separation if times > 1 else 1,
            noise_multiplier=multiplier,
            l2_clip_norm=norm,
        )


class GridNoise:
    """The promised noise: sums are rounded to the grid, and a stream's integers added, as `coordination.noise` does."""

    def __init__(self, promise: Promise, size: int, random_bytes: RandomBytes):
        """Takes what is promised, the length of a sum and a source of randomness."""
        self._grid = promise.sum_noise(size, 1).grid
        self._stream = NoiseStream(promise.mechanism, size, context=_CONTEXT)
        self._random_bytes = random_bytes

    def add(self, total: SumArray) -> SumArray:
        """See `Noise.add`; without noise it is `total` itself."""
        grid = self._grid
        if grid is None:
            return total
        return grid.from_grid(
            grid.to_grid(total) + self._stream.next(lambda: grid.draw(total.size, self._random_bytes))
        )


def mechanisms(rounds: int, min_separation: int, max_participations: int) -> dict[str, Mechanism]:
    """The mechanisms under audit by name: independent noise, one tree over all rounds, two optimised buffers."""
    buffered = optimised_buffered(
        2, rounds=rounds, min_separation=min_separation, max_participations=max_participations
    )
    return {
        "independent": Independent(),
        "tree": Tree(restart_every=1 << (rounds - 1).bit_length()),
        "two buffers": buffered,
    }


def noise_matrix(mechanism: Mechanism, rounds: int) -> SumArray:
    """How noise is made of fresh draws: float64 [rounds, draws], found by sending impulses through the stream itself.

    Returns:
      B, where the noise of round t is the sum of B[t, i] times draw i.

    """
    size, drawn = 2 * rounds, iter(range(2 * rounds))

    def impulse() -> IntArray:
        values = np.zeros(size, np.int64)
        values[next(drawn)] = _UNIT
        return values

    stream = NoiseStream(mechanism, size, context=_CONTEXT)
    return np.stack([stream.next(impulse) for _ in range(rounds)]) / _UNIT


def best_weights(mechanism: Mechanism, pattern: SumArray) -> SumArray:
    """Weights of the released sums that show best who took part in `pattern`: the matched filter, float64 [rounds].

    With noise of covariance BBᵀ over rounds it is (BBᵀ)⁻¹ times the pattern; for a matrix mechanism, where B = C⁻¹,
    the signal is then |C · pattern| times the noise, which is the sensitivity where the pattern is the worst.
    """
    matrix = noise_matrix(mechanism, pattern.size)
    weights: SumArray = np.linalg.solve(matrix @ matrix.T, pattern)
    return weights


def random_bytes(seed: int, *parts: object) -> RandomBytes:
    """ChaCha20 under a key that hangs on all arguments. The service has the operating system's generator instead."""
    digest = hashlib.sha256("\n".join(map(str, (seed, *parts))).encode()).digest()
    return Keystream(digest, _LABEL).read
