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
      gate_standard_errors: and only if it does so by this many standard errors of the noise, which is known: 1.645 lets
        noise alone through once in 20 times at most (one-sided, normal); 0 to decide as if there were no noise.
      keep_checkpoints: so many of the newest model versions are kept, beside those that are needed (see `pruning`);
        None for all. A tail average needs as many as it averages.

    """

    enrolment: Literal["open", "token", "attestation"] = "token"
    epsilon_budget: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    gate_margin: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None = None
    gate_standard_errors: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.645
    keep_checkpoints: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = 64
