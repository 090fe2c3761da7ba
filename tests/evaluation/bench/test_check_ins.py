import io
import json
import random

import pytest
from click.testing import CliRunner
from rich.console import Console

from evaluation.bench.check_ins import Setting, print_latencies, run
from evaluation.cli import bench

pytestmark = pytest.mark.slow  # starts the processes that it times


@pytest.mark.parametrize(("report_goal", "is_gathered"), [(400, True), (300, False)])
def test_first_calls_follow_the_steered_pace(report_goal: int, is_gathered: bool) -> None:
    setting = Setting(report_goal=report_goal, beat_s=60.0)
    generator = random.Random(0)
    waits = [setting.first_wait_s(generator) for _ in range(2000)]
    assert min(waits) >= 0
    assert (max(waits) <= 1.11 * 60) is is_gathered  # up to ten devices for each place are gathered


def test_an_even_pace_is_kept_and_every_call_is_timed() -> None:
    result = run(
        Setting(devices=30, seconds=2.0, calls_per_second=15.0, workers=1), console=Console(file=io.StringIO())
    )
    assert result.calls == 30
    assert result.calls_a_second == 15
    assert result.busiest_second <= 16
    assert 0 < result.p50_ms <= result.value <= result.max_ms
    assert result.ratio == result.value / result.reference
    shown = io.StringIO()
    print_latencies(result, Console(file=shown, width=200))
    assert f"{result.value:.1f}" in shown.getvalue()


def test_steered_devices_call_when_they_were_told() -> None:
    options = ["--devices", "20", "--seconds", "2", "--report-goal", "1", "--beat-s", "1", "--workers", "1", "--json"]
    result = CliRunner().invoke(bench, ["check-ins", *options])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)
    # 20 devices and cohorts of 2: gathered, so each calls once a beat, or once more when it was selected.
    assert 20 <= outcome["calls"] <= 80
    assert outcome["details"]["pace"] == "steered"
