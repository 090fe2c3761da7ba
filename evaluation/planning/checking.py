"""Is the model of the service right? Each size is predicted from the others, and compared with what was measured."""

from collections.abc import Callable, Sequence

import msgspec

from evaluation.planning.costs import PHASES, NoCosts, Run, UnitCosts, Use, unit_costs

QUANTITIES: dict[str, tuple[str, Callable[[Use], float]]] = {
    "time": ("s", lambda use: use.seconds),
    "CPU of the service": ("s", lambda use: use.cpu_s),
    "CPU of the database": ("s", lambda use: use.database_cpu_s),
    "transactions that write": ("", lambda use: use.commits),
    "written by the database": ("MB", lambda use: use.log_bytes / 1e6),
    "received": ("MB", lambda use: use.bytes_in / 1e6),
    "sent": ("MB", lambda use: use.bytes_out / 1e6),
}
MEMORY = "memory of a worker"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity of the rounds of one size.

    Attributes:
      cohort: the size.
      fitted_on: the sizes that the prediction was made from; never the same one.
      quantity: what was compared.
      unit: of it.
      measured: of all of the size's rounds.
      predicted: likewise.
      error: relative, (predicted - measured) / measured.

    """

    cohort: int
    fitted_on: tuple[int, ...]
    quantity: str
    unit: str
    measured: float
    predicted: float
    error: float


def check_model(runs: Sequence[Run]) -> tuple[Check, ...]:
    """Predicts each run from the others.

    Raises:
      NoCosts: fewer than two runs.

    """
    if len(runs) < 2:
        raise NoCosts(f"a model is checked on other runs than it is fitted on, which takes at least 2, got {len(runs)}")
    found: list[Check] = []
    for run in runs:
        others = [other for other in runs if other is not run]
        found += _compare(run, others)
    return tuple(found)


def predict(units: UnitCosts, run: Run) -> Use:
    """What the requests of a run take by the model, of which only their numbers are looked at."""
    total = sum((units.one[name].times(run.phases[name].count) for name in PHASES), Use())
    total += units.a_round.times(run.rounds)
    background = units.idle.times(total.seconds)
    return msgspec.structs.replace(total + background, seconds=total.seconds)


def _compare(run: Run, others: Sequence[Run]) -> list[Check]:
    units = unit_costs(others)
    measured, predicted = sum((phase.use for phase in run.phases.values()), Use()), predict(units, run)
    pairs = {quantity: (unit, read(measured), read(predicted)) for quantity, (unit, read) in QUANTITIES.items()} | {
        MEMORY: ("MB", run.peak_worker_bytes / 1e6, units.peak_worker_bytes / 1e6)
    }
    return [
        Check(
            cohort=run.cohort,
            fitted_on=tuple(other.cohort for other in others),
            quantity=quantity,
            unit=unit,
            measured=true,
            predicted=told,
            error=(told - true) / true if true else float(told != true),
        )
        for quantity, (unit, true, told) in pairs.items()
    ]
