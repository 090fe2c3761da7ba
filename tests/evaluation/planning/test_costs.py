from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_costs import IDLE, ONE, make_costs, make_run

from evaluation.planning.costs import (
    DEFAULT_COSTS,
    PHASES,
    Costs,
    NoCosts,
    Run,
    Use,
    charge_cleaning,
    read_costs,
    unit_costs,
)


def test_unit_costs_are_those_that_the_runs_were_made_of() -> None:
    units = unit_costs([make_run(8), make_run(40)])
    for name in PHASES:
        for measure in Use.__struct_fields__:
            assert getattr(units.one[name], measure) == pytest.approx(getattr(ONE[name], measure), abs=1e-9)
    assert units.idle.commits == IDLE.commits / IDLE.seconds
    assert units.peak_worker_bytes == 250e6


@given(st.lists(st.floats(0, 1e9), min_size=7, max_size=7), st.floats(0, 1e3))
def test_uses_add_up_and_scale(values: list[float], factor: float) -> None:
    use = Use(**dict(zip(Use.__struct_fields__, values, strict=True)))
    assert use + Use() == use
    assert (use + use) == use.times(2)
    assert use.times(factor).cpu_s == use.cpu_s * factor


def test_what_idling_takes_is_taken_off_but_never_more_than_there_is() -> None:
    left = Use(seconds=10, cpu_s=1.0, commits=5).without(IDLE)
    assert left.cpu_s == pytest.approx(0.9)
    assert left.commits == 0
    assert left.seconds == 10


def test_what_a_round_takes_however_large_is_told_apart_from_its_requests() -> None:
    fixed = Use(seconds=2.0, cpu_s=0.7, log_bytes=5e6)
    units = unit_costs([with_fixed_part(make_run(cohort), fixed) for cohort in (8, 40, 200)])
    assert units.one["report"].cpu_s == pytest.approx(ONE["report"].cpu_s)
    assert units.a_round.cpu_s == pytest.approx(0.7)
    assert units.a_round.log_bytes == pytest.approx(5e6)


def with_fixed_part(run: Run, fixed: Use) -> Run:
    """A run each of whose rounds takes that besides."""
    phase = run.phases["report"]
    background = IDLE.times(fixed.seconds / IDLE.seconds)
    use = phase.use + (fixed + msgspec.structs.replace(background, seconds=0.0)).times(run.rounds)
    return msgspec.structs.replace(run, phases=run.phases | {"report": msgspec.structs.replace(phase, use=use)})


@given(st.lists(st.tuples(st.integers(2, 500), st.floats(0.1, 10)), min_size=1, max_size=4))
def test_no_part_is_ever_below_nothing(sizes: list[tuple[int, float]]) -> None:
    units = unit_costs([make_run(cohort, factor=factor) for cohort, factor in sizes])
    for use in (*units.one.values(), units.a_round):
        assert all(getattr(use, measure) >= 0 for measure in Use.__struct_fields__)


def test_cleaning_up_is_charged_to_reports_and_nothing_is_lost() -> None:
    tidy, run = make_run(8), make_run(40)
    wait = run.phases["wait"]
    dirty = msgspec.structs.replace(wait, use=wait.use + Use(log_bytes=1e9))
    charged = charge_cleaning([tidy, msgspec.structs.replace(run, phases=run.phases | {"wait": dirty})])
    assert charged[0] == tidy
    assert charged[1].phases["wait"].use.log_bytes == pytest.approx(wait.use.log_bytes)
    assert charged[1].phases["report"].use.log_bytes == pytest.approx(run.phases["report"].use.log_bytes + 1e9)


def test_no_runs_give_no_costs() -> None:
    with pytest.raises(NoCosts, match="at least 1 run, got 0"):
        unit_costs([])


def test_a_phase_that_is_missing_is_named() -> None:
    run = make_run(8)
    lacking = msgspec.structs.replace(run, phases={name: run.phases[name] for name in PHASES if name != "wait"})
    with pytest.raises(NoCosts, match="must have the phase wait"):
        unit_costs([run, lacking])


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_bytes(msgspec.json.encode(make_costs()))
    assert read_costs(path) == make_costs()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"command": 1}', b"\xff"])
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(NoCosts, match=r"^wrong\.json must be costs as `keychorus plan measure` writes them: .+$"):
        read_costs(path)


def test_keychorus_comes_with_costs_of_the_full_network_at_three_sizes() -> None:
    costs: Costs = read_costs(DEFAULT_COSTS)
    assert costs.num_weights == 1_422_250
    assert len({run.cohort for run in costs.runs}) >= 3
    assert all(count.count > 0 for run in costs.runs for count in run.phases.values())
    assert unit_costs(costs.runs).one["report"].bytes_in > 2 * costs.num_weights
