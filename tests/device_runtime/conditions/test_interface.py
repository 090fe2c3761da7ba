import itertools

from device_runtime.conditions import AlwaysEligible, Conditions, NeverEligible, Reading, Unreadable, gather
from device_runtime.conditions.interface import CONDITIONS


def test_eligible_only_if_all_hold():
    for holds in itertools.product([False, True], repeat=len(CONDITIONS)):
        conditions = Conditions(**dict(zip(CONDITIONS, holds, strict=True)))
        assert conditions.eligible is all(holds)
        assert len(conditions.missing) == holds.count(False)
        assert bool(conditions.explain()) is not conditions.eligible


def test_desk_and_unknown_machine():
    assert AlwaysEligible().read().eligible
    assert NeverEligible().read().missing == CONDITIONS
    assert set(NeverEligible("no such system").read().why.values()) == {"no such system"}


def unreadable(error):
    def probe():
        raise error

    return probe


def test_what_cannot_be_read_does_not_hold_and_says_why():
    held = dict.fromkeys(CONDITIONS, lambda: Reading(True, "read"))
    conditions = gather(
        held
        | {"idle": unreadable(Unreadable("no keyboard")), "cool": unreadable(PermissionError(13, "Permission denied"))}
    )
    assert conditions.missing == ("idle", "cool")
    assert conditions.explain() == "not idle: no keyboard; not cool: the system refuses: Permission denied"
    assert conditions.why["charging"] == "read"
