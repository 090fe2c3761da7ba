"""What a soak's size decides, and what it may not be."""

import pytest

from emulator.soaking.settings import SoakSettings


def test_a_larger_fleet_has_larger_rounds_and_rarer_kills():
    small, large = (SoakSettings(devices=devices, rounds=9) for devices in (8, 1000))
    assert (small.report_goal, large.report_goal) == (4, 50)
    assert small.connections_per_kill < large.connections_per_kill
    assert small.parameters.minimum_reports == 2
    assert small.rounds_with_kills == 6
    assert SoakSettings(devices=8, rounds=1).rounds_with_kills == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"devices": 7}, "devices must be >= 8, got 7"),
        ({"rounds": 0}, "rounds must be >= 1, got 0"),
        ({"database": "mysql://x:secret@y"}, "database must be sqlite, postgresql or an address"),
        ({"database": "sqlite:///x"}, "database must be sqlite, postgresql or an address"),
    ],
)
def test_bounds(changes, told):
    with pytest.raises(ValueError, match=told) as caught:
        SoakSettings(**{"devices": 8, "rounds": 1, **changes})
    assert "secret" not in str(caught.value)


def test_a_password_is_no_part_of_the_databases_name():
    settings = SoakSettings(devices=8, rounds=1, database="postgresql://keychorus:secret@host/books")
    assert settings.database_name == "postgresql"
