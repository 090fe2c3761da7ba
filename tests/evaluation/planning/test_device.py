from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_costs import ONE, make_costs

from evaluation.planning.assumptions import Assumptions
from evaluation.planning.demand import Demand
from evaluation.planning.device import MONTH_DAYS, DeviceCosts, ask_of_device, cpu_s, transfer_s, work_s

COSTS = make_costs()
DEMAND = Demand(
    calls_mean_per_s=140.0,
    calls_peak_per_s=220.0,
    selected_peak_per_s=160.0,
    rounds_a_day=240.0,
    shortest_round_s=330.0,
    longest_round_s=420.0,
    idle_hours=0,
)


def asked(assumed: Assumptions) -> DeviceCosts:
    return ask_of_device(assumed, COSTS, DEMAND)


@given(st.integers(3_000_000, 10**9))
def test_all_devices_together_fill_the_rounds(devices: int) -> None:
    assumed = Assumptions(devices=devices)
    in_rounds = asked(assumed).participations_a_month * devices
    assert in_rounds == pytest.approx(DEMAND.rounds_a_day * MONTH_DAYS * assumed.cohort)


@given(st.floats(0.1, 100))
def test_twice_the_power_is_twice_the_battery(watts: float) -> None:
    once, twice = asked(Assumptions(watts=watts)), asked(Assumptions(watts=2 * watts))
    assert twice.battery_share_a_month == pytest.approx(2 * once.battery_share_a_month)


def test_battery_is_power_by_time() -> None:
    assumed = Assumptions(watts=3.0, battery_wh=15.0)
    assert asked(assumed).battery_share == pytest.approx(3.0 * work_s(assumed, COSTS) / 3600 / 15.0)
    assert work_s(assumed, COSTS) == cpu_s(assumed, COSTS) + transfer_s(assumed, COSTS)


def test_cpu_is_steps_and_masks_on_a_slower_core() -> None:
    plain = Assumptions(words=1600, secure_aggregation=False, slow_factor=1.0)
    assert cpu_s(plain, COSTS) == pytest.approx(9 * COSTS.step_s)  # 8.6 steps, the last one not full
    assert cpu_s(replace(plain, epochs=2), COSTS) == pytest.approx(18 * COSTS.step_s)
    assert cpu_s(replace(plain, secure_aggregation=True), COSTS) == pytest.approx(9 * COSTS.step_s + 0.12)
    assert cpu_s(replace(plain, slow_factor=5.0), COSTS) == pytest.approx(45 * COSTS.step_s)


def test_data_are_rounds_check_ins_and_releases() -> None:
    plain = Assumptions(secure_aggregation=False, releases_a_month=2.0, release_mb=1.5)
    found = asked(plain)
    calls = DEMAND.calls_mean_per_s * 86_400 * MONTH_DAYS / plain.devices
    rounds_mb = found.participations_a_month * ONE["download"].bytes_out / 1e6
    assert found.down_mb_a_month == pytest.approx(rounds_mb + 3.0 + calls * ONE["wait"].bytes_out / 1e6)
    sent_mb = found.participations_a_month * 2 * COSTS.num_weights / 1e6
    assert found.up_mb_a_month == pytest.approx(sent_mb + calls * ONE["wait"].bytes_in / 1e6)
