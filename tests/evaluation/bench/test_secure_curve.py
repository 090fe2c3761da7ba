import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.bench import secure_curve
from evaluation.bench.secure_curve import Point, measure_curve, print_curve, save_curve


def point(**changes) -> Point:
    usual = {
        "mode": "malicious",
        "num_members": 500,
        "degree": 190,
        "threshold": 160,
        "client_cpu_s": 0.25,
        "client_bytes": 3e6,
        "service_cpu_s": 6.0,
        "service_peak_bytes": 40_000_000,
    }
    return Point(**{**usual, **changes})


def test_a_million_devices_are_as_many_groups() -> None:
    assert point().service_ms_a_member == 12.0
    assert point().core_minutes_a_million == 2000 * 6.0 / 60
    assert point(num_members=1000, service_cpu_s=12.0).core_minutes_a_million == point().core_minutes_a_million


def test_each_size_is_measured_in_both_modes_up_to_its_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure_curve, "LARGEST", {"malicious": 20, "semi_honest": 16})
    points = measure_curve((16, 20), 500, console=Console(file=io.StringIO()))
    assert [(each.mode, each.num_members) for each in points] == [
        ("malicious", 16),
        ("malicious", 20),
        ("semi_honest", 16),
    ]
    assert all(each.client_cpu_s > 0 and each.service_cpu_s > 0 for each in points)
    assert points[0].degree > points[2].degree
    assert all(each.client_bytes > 1000 for each in points)


def test_points_are_written_as_table_and_picture(tmp_path: Path) -> None:
    points = [point(), point(mode="semi_honest"), point(num_members=1000)]
    save_curve(points, tmp_path / "new")
    written = json.loads((tmp_path / "new/secure-aggregation-curve.json").read_text())
    assert [each["num_members"] for each in written] == [500, 500, 1000]
    assert (tmp_path / "new/secure-aggregation-curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_says_what_a_million_costs() -> None:
    shown = io.StringIO()
    print_curve([point()], Console(file=shown, width=200))
    (row,) = (line.split() for line in shown.getvalue().splitlines() if "malicious" in line)
    assert row == ["malicious", "500", "190", "0.250", "3.00", "6.00", "40", "200"]
