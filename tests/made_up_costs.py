"""Costs of a service that is exactly as the plan's model says: so much for each request, and nothing else."""

from evaluation.planning.costs import Costs, Phase, PhaseName, Run, SecureCosts, Stored, Use

NUM_WEIGHTS = 1_422_250

ONE: dict[PhaseName, Use] = {
    "check_in": Use(
        seconds=0.01, cpu_s=0.006, database_cpu_s=0.002, commits=1, log_bytes=2e3, bytes_in=700, bytes_out=900
    ),
    "wait": Use(seconds=0.008, cpu_s=0.005, database_cpu_s=0.001, commits=1, log_bytes=1e3, bytes_in=700, bytes_out=70),
    "download": Use(seconds=0.004, cpu_s=0.003, database_cpu_s=0.004, bytes_in=80, bytes_out=1.44e6),
    "report": Use(
        seconds=0.01, cpu_s=0.015, database_cpu_s=0.01, commits=0.3, log_bytes=3e6, bytes_in=2.846e6, bytes_out=90
    ),
    "close": Use(seconds=1.0, cpu_s=1.2, database_cpu_s=0.3, commits=6, log_bytes=3e7, bytes_in=2.846e6, bytes_out=90),
}
IDLE = Use(seconds=5.0, cpu_s=0.05, database_cpu_s=0.02, commits=5, log_bytes=5e3)


def make_run(cohort: int, *, rounds: int = 2, factor: float = 1.0) -> Run:
    """Rounds of one size; `factor` times as dear as the others, but for their number."""
    counts: dict[PhaseName, int] = {
        "check_in": cohort - 1,
        "wait": min(cohort, 128),
        "download": cohort,
        "report": cohort - 1,
        "close": 1,
    }
    return Run(
        cohort=cohort,
        rounds=rounds,
        phases={name: _phase(ONE[name].times(factor), rounds * count) for name, count in counts.items()},
        idle=IDLE,
        peak_worker_bytes=round(250e6 * factor),
    )


def make_costs() -> Costs:
    return Costs(
        command="keychorus plan measure",
        date="2026-11-22",
        machine="nowhere",
        num_weights=NUM_WEIGHTS,
        connections=16,
        step_s=0.03,
        runs=tuple(make_run(cohort) for cohort in (32, 128, 512)),
        secure=SecureCosts(
            members=128,
            value_bits=12,
            member_cpu_s=0.5,
            leader_cpu_s=0.7,
            device_cpu_s=0.12,
            bytes_in=NUM_WEIGHTS * 1.5 + 20_000,
            bytes_out=15_000,
        ),
        stored=Stored(device_bytes=500, assignment_bytes=400, round_bytes=1e7),
    )


def _phase(one: Use, count: int) -> Phase:
    """What `count` of them take, and what an idle service takes in that time."""
    use = one.times(count)
    background = IDLE.times(use.seconds / IDLE.seconds)
    both = {name: getattr(use, name) + getattr(background, name) for name in use.__struct_fields__}
    return Phase(count=count, use=Use(**both | {"seconds": use.seconds}))
