from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_costs import IDLE, NUM_WEIGHTS, ONE, make_costs

from evaluation.planning.assumptions import Assumptions
from evaluation.planning.demand import Demand, foresee
from evaluation.planning.device import work_s
from evaluation.planning.service import Load, Machines, carry, close_s, provide, update_bytes

COSTS = make_costs()
PLAIN = Assumptions(secure_aggregation=False)
counts = st.integers(9_000_000, 10**9)


def demand_of(assumed: Assumptions) -> Demand:
    return foresee(assumed, work_s=work_s(assumed, COSTS), close_s=close_s(assumed, COSTS))


def load_of(assumed: Assumptions) -> Load:
    return carry(assumed, COSTS, demand_of(assumed))


def machines_for(assumed: Assumptions) -> Machines:
    return provide(assumed, COSTS, load_of(assumed))


@settings(max_examples=30)
@given(counts, counts, st.booleans())
def test_more_devices_never_need_less(one: int, other: int, secure: bool) -> None:
    few, many = (
        machines_for(replace(PLAIN, devices=devices, secure_aggregation=secure)) for devices in sorted((one, other))
    )
    assert few.hosts <= many.hosts
    assert few.cores <= many.cores * (1 + 1e-12)
    assert few.databases <= many.databases
    assert few.database_bytes <= many.database_bytes


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_cores_that_are_kept_less_busy_are_more(one: float, other: float) -> None:
    idle, busy = (machines_for(replace(PLAIN, utilisation=share)) for share in sorted((one, other)))
    assert idle.cores >= busy.cores
    assert idle.hosts >= busy.hosts


def test_bytes_add_up() -> None:
    demand, load = demand_of(PLAIN), load_of(PLAIN)
    selected = demand.rounds_a_day * PLAIN.cohort / 86_400
    reports, waits = selected * (1 - PLAIN.drop_out), demand.calls_mean_per_s - selected
    headers = ONE["check_in"].bytes_in * selected + ONE["wait"].bytes_in * waits + ONE["download"].bytes_in * selected
    closing = ONE["close"].bytes_in * demand.rounds_a_day / 86_400
    assert load.mean.bytes_in == pytest.approx(reports * 2 * NUM_WEIGHTS + headers + closing, rel=1e-9)


def test_transactions_add_up() -> None:
    demand, load = demand_of(PLAIN), load_of(PLAIN)
    selected = demand.selected_peak_per_s
    requests = selected + (demand.calls_peak_per_s - selected) + 0.3 * selected * 0.9
    assert load.peak.commits == pytest.approx(
        requests + IDLE.commits / IDLE.seconds + 6 / demand.shortest_round_s, rel=1e-9
    )


def test_the_peak_is_above_the_mean() -> None:
    for assumed in (PLAIN, Assumptions()):
        load = load_of(assumed)
        for measure in ("cpu_s", "database_cpu_s", "commits", "log_bytes", "bytes_in", "bytes_out"):
            assert getattr(load.peak, measure) > getattr(load.mean, measure)


def test_a_cache_takes_the_downloads() -> None:
    with_cache, without = load_of(replace(PLAIN, cdn_share=1.0)), load_of(PLAIN)
    saved = without.peak.bytes_out - with_cache.peak.bytes_out
    assert saved == pytest.approx(demand_of(PLAIN).selected_peak_per_s * ONE["download"].bytes_out)
    assert with_cache.peak.bytes_in < without.peak.bytes_in


def test_updates_have_the_bytes_of_their_format() -> None:
    assert update_bytes(PLAIN, COSTS) == 2 * NUM_WEIGHTS
    assert update_bytes(replace(PLAIN, update_format="float32"), COSTS) == 4 * NUM_WEIGHTS
    assert update_bytes(Assumptions(), COSTS) == 1.5 * NUM_WEIGHTS + 20_000
    assert update_bytes(Assumptions(value_bits=16), COSTS) == 2 * NUM_WEIGHTS + 20_000


def test_members_that_ask_less_often_cost_less() -> None:
    often, seldom = load_of(Assumptions(poll_s=2.0)), load_of(Assumptions(poll_s=30.0))
    assert often.polls_peak_per_s == pytest.approx(15 * seldom.polls_peak_per_s)
    assert often.peak.cpu_s > seldom.peak.cpu_s
    assert often.polls_peak_per_s <= Assumptions().cohort / 2.0  # nobody waits twice
    assert load_of(PLAIN).polls_peak_per_s == 0


def test_what_one_disk_cannot_write_takes_more() -> None:
    load = load_of(PLAIN)
    exactly = replace(PLAIN, database_write_mb_s=load.peak.log_bytes / 1e6)
    assert machines_for(exactly).databases == 1
    assert machines_for(replace(exactly, database_write_mb_s=exactly.database_write_mb_s / 2.5)).databases == 3


def test_spare_hosts_come_on_top() -> None:
    assert machines_for(replace(PLAIN, spare_hosts=3)).hosts == machines_for(replace(PLAIN, spare_hosts=0)).hosts + 3


def test_asking_again_writes_nothing() -> None:
    often, seldom = load_of(Assumptions(poll_s=2.0)), load_of(Assumptions(poll_s=30.0))
    assert often.peak.commits == seldom.peak.commits
    assert often.peak.log_bytes == seldom.peak.log_bytes
