"""A phone's conditions by recorded `adb` answers: seldom asked, never foretold, and one sentence where none answers."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_runtime.conditions import AlwaysEligible
from emulator.traces.phone import Newest, NoPhone, PhoneTrace, require_phone


def trace(phone, every_s=0.0):
    return PhoneTrace(adb=(phone.adb, "-s", "emulator-5554"), every_s=every_s)


def test_all_five_conditions_are_those_of_the_phone_now(phone):
    lying = trace(phone)
    found = lying.conditions(1000.0)
    assert found.eligible, found.explain()
    phone.go_for_a_walk()
    found = lying.conditions(1000.0)
    assert found.missing == ("idle", "charging", "unmetered", "charged", "cool")
    assert "41 %" in found.explain()


def test_a_phone_that_cannot_act_is_asked_again_and_one_that_can_acts_at_once(phone):
    assert trace(phone, every_s=7.0).next_eligible(1000.0) == 1000.0
    phone.go_for_a_walk()
    assert trace(phone, every_s=9.0).next_eligible(1000.0) == 1009.0


def test_an_unplugged_phone_lets_nobody_act_until_it_is_back(phone):
    lying = trace(phone)
    phone.fail("error: device 'emulator-5554' not found\n")
    assert len(lying.conditions(0.0).missing) == 5
    (phone.folder / "error").unlink()
    assert lying.conditions(0.0).eligible


def test_all_devices_of_a_process_ask_once(phone):
    for at in range(50):
        pickle.loads(pickle.dumps(trace(phone, every_s=3600.0))).conditions(at)  # noqa: S301  # as workers get it
    asked = ("-s emulator-5554 shell dumpsys " + service for service in ("battery", "connectivity", "power"))
    assert sorted(phone.asked) == list(asked)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=30).map(sorted),
    st.floats(0, 50),
)
def test_no_source_is_asked_more_often_than_it_may_be(times, every_s):
    asked, now = [], 0.0

    class Source:
        def read(self):
            asked.append(now)
            return AlwaysEligible().read()

    newest = Newest(Source(), every_s, lambda: now)
    for now in times:  # noqa: B007  # the clock
        assert newest.read().eligible
    assert asked[0] == times[0]
    assert all(later - earlier >= every_s for earlier, later in pairwise(asked))
    assert times[-1] - asked[-1] < every_s or asked[-1] == times[-1]


def test_a_phone_that_answers_is_enough(phone):
    require_phone((phone.adb, "-s", "emulator-5554"))
    assert phone.asked == ["-s emulator-5554 get-state"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("* daemon started successfully\nerror: no devices/emulators found\n", "error: no devices/emulators found"),
        ("error: more than one device/emulator\n", "error: more than one device/emulator"),
        ("error: device offline\n", "error: device offline"),
        ("error: device unauthorized.\nTry 'adb kill-server' if that seems wrong.\n", "error: device unauthorized."),
    ],
)
def test_no_phone_is_told_in_adbs_words(phone, said, told):
    phone.fail(said)
    with pytest.raises(NoPhone) as caught:
        require_phone((phone.adb,))
    assert str(caught.value) == f'{phone.adb} get-state must say "device", got "{told}"'


def test_no_adb_is_told(tmp_path):
    with pytest.raises(NoPhone, match="adb must be installed or named by --adb-path, got no-such-adb"):
        require_phone(("no-such-adb",))
    with pytest.raises(NoPhone, match="cannot be run: Permission denied"):
        require_phone((str(tmp_path),))
