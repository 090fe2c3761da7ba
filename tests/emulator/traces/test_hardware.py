"""Machines are drawn within their bounds, and a wish for other ones changes nothing else about them."""

import dataclasses
import random
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from emulator.traces.hardware import Hardware, HardwareMix, draw_hardware


@given(st.integers(0, 1000))
def test_machines_lie_within_the_mix(seed):
    mix = HardwareMix(clock_error_s=60, clock_drift_s_per_day=5, full_storage=0.5, both_runtimes=True)
    found = draw_hardware(random.Random(seed), mix)
    assert 0.4 <= found.seconds_per_step <= 2.5
    assert abs(found.clock_error_s) <= 60
    assert abs(found.clock_drift_s_per_day) <= 5
    assert found.largest_file_bytes in (None, mix.largest_file_bytes)


def test_most_machines_are_nearer_to_the_fastest():
    drawn = [draw_hardware(random.Random(seed), HardwareMix()).seconds_per_step for seed in range(300)]
    assert median(drawn) < (0.4 * 2.5) ** 0.5


def test_another_wish_leaves_the_rest_of_a_machine_as_it_is():
    plain = draw_hardware(random.Random(3), HardwareMix())
    drifting = draw_hardware(random.Random(3), HardwareMix(clock_drift_s_per_day=9))
    assert dataclasses.replace(drifting, clock_drift_s_per_day=0.0) == dataclasses.replace(
        plain, clock_drift_s_per_day=0.0
    )


def test_a_clock_drifts_from_its_error_on():
    clock = Hardware(clock_error_s=10.0, clock_drift_s_per_day=2.0)
    assert clock.clock_ahead_s(0.0) == 10.0
    assert clock.clock_ahead_s(3 * 86_400.0) == 16.0
