import numpy as np
import pytest

from evaluation.audit.views import GroupSum, Noised, Plain, View, views
from protocol.arrays import FloatArray
from protocol.clipping import clip_to_norm

SIZE, MEMBERS = 4_096, 8


@pytest.fixture(scope="module")
def updates() -> list[FloatArray]:
    generator = np.random.default_rng(1)
    return [clip_to_norm(generator.normal(size=SIZE).astype(np.float32), 1.0).update for _ in range(MEMBERS)]


ALL = views(1.0, SIZE, (4, MEMBERS), (0.1, 1.0))


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name)
def test_what_is_seen_is_the_sum_but_for_the_error_that_it_names(view: View, updates: list[FloatArray]) -> None:
    some = updates[: view.members]
    seen = view.see(some, seed=5)
    off = seen.update - np.sum(some, axis=0, dtype=np.float64)
    measured = float(np.sqrt(np.mean(np.square(off))))
    assert measured <= 1.1 * seen.error
    if not isinstance(
        view, GroupSum
    ):  # there the error is an upper bound: that of values in the middle of two integers
        assert measured >= 0.9 * seen.error


def test_the_order_and_names_of_tables() -> None:
    assert [type(view) for view in ALL] == [Plain, Plain, GroupSum, GroupSum, Noised, Noised, Noised, Noised]
    assert [view.members for view in ALL] == [1, 1, 4, MEMBERS, 1, MEMBERS, 1, MEMBERS]
    assert len({view.name for view in ALL}) == len(ALL)


def test_honest_shares_add_up_to_the_noise_that_was_asked_for(updates: list[FloatArray]) -> None:
    """One of 8 members may drop out and one may side with the service, so 8 shares are a little more than enough."""
    share, whole = ALL[-2].see(updates[:1], seed=1), ALL[-1].see(updates, seed=1)
    assert whole.error == pytest.approx(share.error * np.sqrt(MEMBERS), rel=1e-6)
    assert 1.0 <= whole.error <= 1.3


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name)
def test_the_same_seed_shows_the_same(view: View, updates: list[FloatArray]) -> None:
    some = updates[: view.members]
    np.testing.assert_array_equal(view.see(some, seed=2).update, view.see(some, seed=2).update)


def test_a_group_that_leaves_nobody_honest_is_refused() -> None:
    with pytest.raises(ValueError, match="must leave an honest member"):
        views(1.0, SIZE, (2,), (1.0,))
