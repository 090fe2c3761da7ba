"""Nobody is in two roles, and nobody is tested on what they trained on."""

import pytest

from emulator.demo.people import gather_people


@pytest.fixture(scope="module")
def people():
    return gather_people(seed=1, max_messages=60, max_devices=200, donor_share=0.1, held_out_share=0.2)


def test_roles_are_apart_and_follow_the_seed(people):
    assert not set(people.training) & set(people.held_out)
    assert set(people.training) == set(people.device_tests)
    assert len(people.training) == 200
    assert people.num_donors > 0
    again = gather_people(seed=1, max_messages=60, max_devices=200, donor_share=0.1, held_out_share=0.2)
    other = gather_people(seed=2, max_messages=60, max_devices=200, donor_share=0.1, held_out_share=0.2)
    same = again == people  # not asserted as it stands: pytest would print the texts
    assert same
    assert set(other.held_out) != set(people.held_out)


def test_a_fifth_of_each_devices_messages_is_kept_for_testing(people):
    for sender, earlier in people.training.items():
        total = len(earlier) + len(people.device_tests[sender])
        assert 20 <= total <= 60
        assert abs(len(people.device_tests[sender]) - total / 5) <= 0.5


def test_no_text_shows_in_a_representation(people):
    assert str(people) == f"People(num_donors={people.num_donors})"
