"""What a soak runs with, all of it following from how large it is."""

import re
from dataclasses import dataclass
from typing import Literal

from aggregation_service.rounds.parameters import RoundParameters
from evaluation.rehearsal.settings import RehearsalSettings
from protocol.plan import Plan, PrivacyParameters

POPULATION = "english"
WORKERS = 2
"""Of gunicorn."""
LANES = 2
"""Processes that speak for devices: requests meet each other."""
FAULT_SHARE = 0.12
VANISH_RATE = 0.08
DEVICE_KILLS_PER_STEP = 0.01
VIRTUAL_SPEED = 400.0
"""Virtual seconds a second, at most. Where two workers share a clock that is a file, one leads by looking at it five
times a second; and what takes a few seconds to start anew must not cost the fleet a virtual day."""
SEPARATION_S = 600.0
_LEAST_DEVICES = 8


@dataclass(frozen=True, kw_only=True)
class SoakSettings:
    """All choices of a soak.

    Attributes:
      devices: in the fleet.
      rounds: to close.
      seed: of faults, kills, and everything made up about devices.
      size: of the network.
      database: `sqlite`, `postgresql` for a server of the soak's own, which is killed, too, or the URL of an existing,
        empty database of PostgreSQL, whose server is left alone.

    Raises:
      ValueError: a value out of its bound.

    """

    devices: int
    rounds: int
    seed: int = 1
    size: Literal["small", "full"] = "small"
    database: str = "sqlite"

    def __post_init__(self) -> None:
        if self.devices < _LEAST_DEVICES:
            raise ValueError(f"devices must be >= {_LEAST_DEVICES}, got {self.devices}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be >= 1, got {self.rounds}")
        if not re.match(r"(sqlite|postgresql)\Z|postgres(ql)?://", self.database):
            raise ValueError("database must be sqlite, postgresql or an address that begins with postgresql://")

    @property
    def database_name(self) -> str:
        """Of the kind of database; an address may hold a password."""
        return self.database.partition(":")[0]

    @property
    def corpus(self) -> str:
        """What people type: a large vocabulary needs a large corpus."""
        return "made-up:en" if self.size == "small" else "chitchat"

    @property
    def report_goal(self) -> int:
        """Reports that a round wants."""
        return min(max(self.devices // 10, 4), 50)

    @property
    def connections_per_kill(self) -> int:
        """Mean number of connections between two kills: some two rounds' worth."""
        return min(2 * self.devices, 300)

    @property
    def rounds_with_kills(self) -> int:
        """After so many closed rounds nobody is killed any more: what memory does is seen in processes that live."""
        return (2 * self.rounds + 2) // 3

    @property
    def parameters(self) -> RoundParameters:
        """Of each round. Its deadline leaves room for a service that is started again."""
        return RoundParameters(
            minimum_reports=(self.report_goal + 1) // 2,
            over_selection=1.5,
            selection_timeout_s=1200,
            report_deadline_s=3600,
        )

    def plan(self, learning: RehearsalSettings) -> Plan:
        """Of each round: plain reports without noise, so that every sum can be checked to the last bit that counts."""
        privacy = PrivacyParameters(
            l2_clip_norm=learning.l2_clip_norm,
            noise_multiplier=0.0,
            report_goal=self.report_goal,
            minimum_separation_s=SEPARATION_S,
        )
        return Plan(tensors=learning.shape.tensors, training=learning.training, privacy=privacy)
