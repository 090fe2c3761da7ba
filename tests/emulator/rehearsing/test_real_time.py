"""A fleet by the machine's clock, with the conditions of a phone that is put on its charger while it waits."""

import threading

import pytest

from emulator.rehearsing.run import Options, run_scenario
from emulator.scenarios.reading import load_scenario
from emulator.traces.phone import PhoneTrace

pytestmark = pytest.mark.slow  # lives for a minute, with TensorFlow before it

SCENARIO = """
about = "A few devices for a minute."
days = 0.0008
devices = 4
[model]
pretraining_epochs = 0
[[populations]]
corpus = "made-up:en"
[task]
report_goal = 2
minimum_reports = 2
minimum_separation_h = 0.001
selection_timeout_h = 0.01
report_deadline_h = 0.02
[hardware]
seconds_per_step = [0.05, 0.1]
[typists]
vanish_rate = 0.0
[[events]]
at_h = 0
do = "release"
"""


def test_devices_act_once_the_phone_lies_on_its_charger(phone, tmp_path):
    path = tmp_path / "minute.toml"
    path.write_text(SCENARIO)
    phone.go_for_a_walk()
    is_over, readings_before = threading.Event(), []

    def put_on_the_charger_once_asked():
        while len(phone.asked) < 9 and not is_over.wait(0.2):
            pass
        readings_before.append(list((tmp_path / "out").glob("world/devices/*/*/english")))
        phone.lie_on_the_charger()

    hand = threading.Thread(target=put_on_the_charger_once_asked)
    hand.start()
    seen = PhoneTrace(adb=(phone.adb,), every_s=1.0)
    options = Options(name="minute", folder=tmp_path / "out", num_workers=1, real_time=True, phone=seen)
    try:
        report = run_scenario(load_scenario(path), options).report
    finally:
        is_over.set()
        hand.join()
    assert readings_before == [[]], "no device may have acted before"
    assert report.events["enrolled"] == 4
    assert report.events["trained"] > 0
    assert report.events["reported"] > 0
    assert (report.is_real_time, report.is_of_phone, report.is_reproducible) == (True, True, False)
    assert {each.name: each.eligible_share for each in report.fairness} == {"fast": None, "slow": None}
    assert report.happened == ("hour 0: the newest model was released",)
