"""What all arms of a rehearsal share."""

from dataclasses import dataclass
from typing import Any

from aggregation_service.rounds.optimizer import ServerMomentum, ServerOptimizer
from model.network import FULL, SMALL, NetworkShape
from protocol.plan import Plan, PrivacyParameters, SecureAggregationParameters, TrainingParameters

LEAST_GROUP = 5
"""Members below which no group of secure aggregation is summed: a device's own floor."""


@dataclass(frozen=True, kw_only=True)
class RehearsalSettings:
    """All choices of a rehearsal. No noise is added: what noise costs is the demo's to tell.

    Attributes:
      shape: of the network; the vocabulary has its size.
      max_messages: cap a sender.
      donor_share: share of senders whose text pre-trains the network.
      held_out_share: share of senders that never train.
      pretraining_epochs: passes over the donors' text.
      rounds: of each arm.
      cohort: devices of a round, all of which report; also the report goal, by which a sum is divided.
      training: of each device.
      l2_clip_norm: C, in units of weight change.
      value_bits: of secure aggregation.
      group_size: most members of one of its groups, for which its integers leave room; a cohort is cut into as few
        groups as that allows.
      optimizer: the server's.
      averaged_checkpoints: how many of the newest make the model that is measured.
      test_messages: newest messages of each held-out sender that are scored at the end.
      curve_messages: of those, the newest that are scored after each round.
      attackers: share of the devices that attack, in arms with an attack.
      seed: of split, weights, cohorts and attackers.

    """

    shape: NetworkShape
    max_messages: int
    donor_share: float = 0.05
    held_out_share: float = 0.2
    pretraining_epochs: int = 2
    rounds: int = 26
    cohort: int = 20
    training: TrainingParameters
    l2_clip_norm: float
    value_bits: int = 12
    group_size: int = 128
    optimizer: ServerOptimizer = ServerMomentum(momentum=0.9, learning_rate=1.0)  # noqa: RUF009  # frozen
    averaged_checkpoints: int = 8
    test_messages: int = 30
    curve_messages: int = 5
    attackers: float = 0.05
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.attackers < 0.5:
            raise ValueError(f"attackers must be in [0, 0.5), got {self.attackers}")
        if self.cohort < LEAST_GROUP:
            raise ValueError(f"cohort must be >= {LEAST_GROUP}, got {self.cohort}")
        if self.group_size < LEAST_GROUP:
            raise ValueError(f"group_size must be >= {LEAST_GROUP}, got {self.group_size}")

    @property
    def minimum_reports(self) -> int:
        """A round with fewer is lost: half of the cohort."""
        return self.cohort // 2

    @property
    def plain_plan(self) -> Plan:
        """Of rounds whose reports are plain, and of local training in all."""
        return self._plan(None)

    @property
    def secure_plan(self) -> Plan:
        """Of rounds with secure aggregation."""
        return self._plan(
            SecureAggregationParameters(
                value_bits=self.value_bits, min_members=LEAST_GROUP, max_members=self.group_size
            )
        )

    def _plan(self, secure: SecureAggregationParameters | None) -> Plan:
        privacy = PrivacyParameters(
            l2_clip_norm=self.l2_clip_norm, noise_multiplier=0, report_goal=self.cohort, minimum_separation_s=0
        )
        return Plan(tensors=self.shape.tensors, training=self.training, privacy=privacy, secure_aggregation=secure)


def full_size(**changes: Any) -> RehearsalSettings:
    """Network, text and plan of `keychorus demo`."""
    training = TrainingParameters(batch_size=4, sequence_length=16, local_epochs=1, learning_rate=0.5, max_words=3_000)
    return RehearsalSettings(shape=FULL, max_messages=200, training=training, l2_clip_norm=2.0, **changes)


def small_size(**changes: Any) -> RehearsalSettings:
    """A tiny network and the plan of `keychorus demo --quick`, on all people."""
    training = TrainingParameters(batch_size=5, sequence_length=12, local_epochs=1, learning_rate=1.0, max_words=1_000)
    return RehearsalSettings(shape=SMALL, max_messages=60, training=training, l2_clip_norm=1.0, **changes)
