import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import integers

from aggregation_service.releases.rollout import is_in_rollout

DEVICES = [secrets.token_hex(16) for _ in range(4_000)]
PERCENTS = integers(0, 100)


@pytest.mark.parametrize("percent", [0, 1, 10, 20, 50, 99, 100])
@pytest.mark.parametrize("release_id", [1, 7, 10**9])
def test_the_share_is_the_percentage_within_statistics(release_id, percent):
    share = sum(is_in_rollout(release_id, percent, device) for device in DEVICES) / len(DEVICES)
    deviation = (percent / 100 * (1 - percent / 100) / len(DEVICES)) ** 0.5
    assert abs(share - percent / 100) <= 5 * deviation


@given(integers(1, 2**31), PERCENTS, PERCENTS, st.sampled_from(DEVICES))
def test_whoever_is_in_stays_in_as_the_percentage_grows(release_id, one, other, device):
    fewer, more = sorted((one, other))
    assert is_in_rollout(release_id, fewer, device) <= is_in_rollout(release_id, more, device)


def test_another_release_draws_other_devices_first():
    both = sum(is_in_rollout(1, 10, device) and is_in_rollout(2, 10, device) for device in DEVICES)
    assert 10 < both < 90  # 40 by chance; 400 if it were always the same
