"""Privacy spent, by the ledger, against what the policy allows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from aggregation_service.dashboard.views.rounds import RoundView
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.spending import spent_by_round
from aggregation_service.storage.books import list_events
from aggregation_service.storage.models import get_policy

NEARLY_SPENT = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetView:
    """What the population's training has cost the device that took part most often.

    Attributes:
      spent: epsilon at `delta`; infinite where nothing bounds it.
      limit: the policy's budget; None for no bound.
      by_round: epsilon by the end of each round that released something, by the round's id.

    """

    spent: float
    delta: float
    limit: float | None
    by_round: dict[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float | None:
        """The part of the budget that is spent, at most 1; None without a budget."""
        return None if self.limit is None else min(self.spent / self.limit, 1.0)

    @property
    def urgency(self) -> Literal["", "caution", "alarm"]:
        """Whether an operator should think about what comes after, or training has stopped."""
        if self.limit is None or self.spent < NEARLY_SPENT * self.limit:
            return ""
        return "alarm" if self.spent >= self.limit else "caution"

    def has_line(self, rounds: Iterable[RoundView]) -> bool:
        """Whether the ledger bounds what any of `rounds` had cost."""
        return any(math.isfinite(self.by_round.get(found.id, math.inf)) for found in rounds)


def read_budget(connection: Connection, population: str, delta: float) -> BudgetView:
    """Adds up the population's ledger.

    Raises:
      UnknownEvent: the ledger holds an event that this version cannot account for.

    """
    events = list_events(connection, population)
    return BudgetView(
        spent=spent_on_worst_device(events, delta).epsilon,
        delta=delta,
        limit=get_policy(connection, population).epsilon_budget,
        by_round={round_id: spent.epsilon for round_id, spent in spent_by_round(events, delta).items()},
    )
