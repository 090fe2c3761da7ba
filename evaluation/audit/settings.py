"""All choices of an audit, checked when they are made."""

from dataclasses import dataclass, replace

from aggregation_service.rounds.optimizer import ServerAverage
from evaluation.audit.lower_bounds import MIN_CANARIES
from evaluation.rehearsal.settings import RehearsalSettings


@dataclass(frozen=True, kw_only=True)
class SecretSharerSettings:
    """Of planted phrases.

    Attributes:
      rates: (devices, copies on each), one for each kind of phrase; (0, 0) is planted nowhere, for comparison.
      phrases: of each kind.
      references: random phrases that each is ranked among; itself comes on top.

    """

    rates: tuple[tuple[int, int], ...] = ((0, 0), (1, 1), (1, 10), (4, 10), (16, 10))
    phrases: int = 8
    references: int = 999

    def __post_init__(self) -> None:
        for name in ("phrases", "references"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    @property
    def carriers(self) -> int:
        """Devices with a phrase; none has two."""
        return self.phrases * sum(devices for devices, _ in self.rates)


@dataclass(frozen=True, kw_only=True)
class MembershipSettings:
    """Of canary devices.

    Attributes:
      canaries: devices that take part, and as many that do not.
      rounds: of the run.
      min_separation: rounds from one participation of a canary to its next.
      max_participations: of a canary.
      delta: of all epsilons.
      confidence: of the lower bounds; an audit without fault fails with a chance of 1 - this, for each bound.
      noise_share: of the promised noise that is really added, in [0, 1]; less than 1 shows that the audit can fail.

    """

    canaries: int = 1000
    rounds: int = 8
    min_separation: int = 4
    max_participations: int = 2
    delta: float = 1e-5
    confidence: float = 0.999
    noise_share: float = 1.0

    def __post_init__(self) -> None:
        if self.canaries < 2 * MIN_CANARIES:
            raise ValueError(f"canaries must be >= {2 * MIN_CANARIES}, got {self.canaries}")
        for name in ("delta", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be in (0, 1), got {getattr(self, name)}")
        if not 0 <= self.noise_share <= 1:
            raise ValueError(f"noise_share must be in [0, 1], got {self.noise_share}")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """All choices of an audit.

    Attributes:
      rehearsal: network, people, training and rounds of planted phrases.
      noise_multiplier: z > 0, for all three attacks; planted phrases and words are also sought at a tenth of it.
      devices: whose words are sought.
      groups: sizes under secure aggregation.
      secret_sharer: of planted phrases.
      membership: of canary devices.

    """

    rehearsal: RehearsalSettings
    noise_multiplier: float = 1.0
    devices: int = 100
    groups: tuple[int, ...] = (10, 50)
    secret_sharer: SecretSharerSettings = SecretSharerSettings()
    membership: MembershipSettings = MembershipSettings()

    def __post_init__(self) -> None:
        if not 0 < self.noise_multiplier <= 1000:
            raise ValueError(f"noise_multiplier must be in (0, 1000], got {self.noise_multiplier}")
        if self.devices < max(self.groups):
            raise ValueError(f"devices must be >= {max(self.groups)} for a group of that size, got {self.devices}")

    @property
    def noise_multipliers(self) -> tuple[float, float]:
        """A tenth of the noise, and all of it."""
        return self.noise_multiplier / 10, self.noise_multiplier

    @property
    def canary_rounds(self) -> RehearsalSettings:
        """Of the run with canary devices: plain averaging, so that the last model is the sum of what was released."""
        return replace(self.rehearsal, rounds=self.membership.rounds, optimizer=ServerAverage())
