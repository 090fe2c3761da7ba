import itertools

from device_runtime.conditions import AlwaysEligible, Conditions, NeverEligible


def test_eligible_only_if_all_hold():
    for idle, charging, unmetered in itertools.product([False, True], repeat=3):
        conditions = Conditions(idle=idle, charging=charging, unmetered=unmetered)
        assert conditions.eligible is (idle and charging and unmetered)
        assert len(conditions.missing) == 3 - (idle + charging + unmetered)


def test_desk_and_unknown_machine():
    assert AlwaysEligible().read().eligible
    assert NeverEligible().read().missing == ("idle", "charging", "unmetered")
