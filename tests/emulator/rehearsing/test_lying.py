"""A service that lies, against real devices: none follows, and the report says how often and why."""

import pytest

from emulator.rehearsing.run import Options, run_scenario
from emulator.scenarios.reading import load_scenario

pytestmark = pytest.mark.slow  # a service and devices that live through a night, with TensorFlow before them

SCENARIO = """
about = "A night in which the service lies twice, and then asks for what it should not."
days = 0.3
devices = 9
require_secure_aggregation = true
[model]
pretraining_epochs = 0
[[populations]]
corpus = "made-up:en"
[task]
secure_aggregation = true
report_goal = 5
minimum_reports = 5
over_selection = 1.4
minimum_separation_h = 0.2
selection_timeout_h = 0.3
[traces]
nights_charged = 1.0
[typists]
vanish_rate = 0.0
[[events]]
at_h = 0
do = "lie-about-keys"
[[events]]
at_h = 3
do = "lie-about-signature"
[[events]]
at_h = 5
do = "weak-groups"
"""


def test_no_device_follows_a_lie(tmp_path):
    path = tmp_path / "night.toml"
    path.write_text(SCENARIO)
    report = run_scenario(load_scenario(path), Options(name="night", folder=tmp_path / "out", num_workers=1)).report
    assert report.events["advertised"] > 0
    assert {"shared", "reported"}.isdisjoint(report.events)
    assert sum(report.refused.values()) == report.events["refused"]
    told = " ".join(report.refused)
    assert "a roster must hold the bundles" in told or "must be signed by its device" in told
    assert "the manifest's signature is not by the enrolled key" in told
    assert all(each.phase != "closed" for each in report.rounds)
    assert len(report.happened) == 3
