"""What an operator decides about a whole population, apart from any task."""

from typing import Annotated, Literal

import msgspec


class PopulationPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kept with the population; every change lands in the audit log.

    Attributes:
      enrolment: what a device must show to be enrolled: nothing, an operator's token, or an attestation verdict.
      epsilon_budget: training stops before the round that would exceed it; None for no bound.
      gate_margin: a candidate is released only if its federated top-1 recall exceeds the current release's by this
        much (0.001 is a tenth of a point; may be negative); None where an operator decides alone.

    """

    enrolment: Literal["open", "token", "attestation"] = "token"
    epsilon_budget: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    gate_margin: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None = None
