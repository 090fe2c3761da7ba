"""What a rehearsal of discovery does."""

from dataclasses import dataclass

from protocol.discovery.parameters import DiscoveryParameters


@dataclass(frozen=True, kw_only=True)
class DiscoverySettings:
    """All choices of a rehearsal.

    Attributes:
      parameters: of each discovery.
      epsilons: that a discovery of all levels is to cost a device at most, one arm each.
      delta: at which epsilon is told.
      populations: numbers of devices whose noise is tried, too, scaled to the devices that there are.
      frequent: N: words that so many people typed are those that should come out.
      vocabulary_size: ids of the vocabulary, whose words are known.
      value_bits: of secure aggregation.
      seed: of noise and ties.

    Raises:
      ValueError: a choice out of its bound.

    """

    parameters: DiscoveryParameters
    epsilons: tuple[float, ...] = (1.0, 4.0, 8.0)
    delta: float = 1e-6
    populations: tuple[int, ...] = (100_000, 1_000_000)
    frequent: int = 50
    vocabulary_size: int = 10_000
    value_bits: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        for name, values, least in (("epsilons", self.epsilons, 0), ("populations", self.populations, 1)):
            if any(not value > least for value in values):
                raise ValueError(f"{name} must all be > {least}, got {min(values)}")
        if self.frequent < 2:
            raise ValueError(f"frequent must be >= 2, got {self.frequent}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {self.delta}")

    @property
    def ladder(self) -> tuple[int, ...]:
        """Numbers of people by which recall is told: round ones, and `frequent`."""
        return tuple(sorted({5, 10, 20, 50, 100, 200} | {self.frequent}))
