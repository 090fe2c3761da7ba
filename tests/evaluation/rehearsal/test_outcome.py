import math
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics import UserCounts
from evaluation.rehearsal.outcome import ArmOutcome, Kept, RoundOutcome, difference


def an_arm(hits: list[int], targets: list[int], name: str = "arm") -> ArmOutcome:
    users = tuple(
        UserCounts(num_targets=asked, top1_hits=hit, top3_hits=hit, keystrokes=asked)
        for hit, asked in zip(hits, targets, strict=True)
    )
    row = {"attackers": 0, "reports": 20, "top1": 0.1, "top3": 0.2, "loss": None}
    rounds = (
        RoundOutcome(number=1, dropped_groups=0, closed=True, **row),
        RoundOutcome(number=2, dropped_groups=2, closed=False, **row),
    )
    return ArmOutcome(name=name, way="mean", attack=None, by_user=users, backdoor_success=0, rounds=rounds, seconds=1.0)


def test_an_arm_counts_what_it_lost() -> None:
    arm = an_arm([1, 2], [10, 20])
    assert (arm.lost_rounds, arm.dropped_groups) == (1, 2)
    assert arm.accuracy.top1 == pytest.approx(0.1)


def test_the_difference_is_in_points_over_all_words() -> None:
    found = difference(an_arm([3, 9], [10, 90]), an_arm([1, 10], [10, 90]))
    assert found.points == pytest.approx(1.0)
    turned = difference(an_arm([1, 10], [10, 90]), an_arm([3, 9], [10, 90]))
    assert turned.points == pytest.approx(-1.0)
    assert turned.standard_error == pytest.approx(found.standard_error)


def test_an_arm_does_not_differ_from_itself() -> None:
    found = difference(an_arm([3, 9], [10, 90]), an_arm([3, 9], [10, 90]))
    assert (found.points, found.standard_error, found.margin) == (0, 0, 0)


def test_the_standard_error_is_that_of_drawing_people_again() -> None:
    generator = np.random.default_rng(1)
    targets = generator.integers(50, 400, 200)
    before, after = generator.binomial(targets, 0.10), generator.binomial(targets, 0.12)
    found = difference(an_arm(after.tolist(), targets.tolist()), an_arm(before.tolist(), targets.tolist()))
    drawn = generator.integers(0, 200, (4_000, 200))
    again = 100 * (after - before)[drawn].sum(axis=1) / targets[drawn].sum(axis=1)
    assert found.standard_error == pytest.approx(again.std(), rel=0.05)
    assert math.isclose(found.margin, 1.96 * found.standard_error)


def test_arms_that_were_asked_other_words_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same words"):
        difference(an_arm([1], [10]), an_arm([1], [11]))


def test_arms_are_kept_by_key(tmp_path: Path) -> None:
    kept, arm = Kept(tmp_path / "new"), an_arm([1], [10])
    assert kept.find("a1") is None
    kept.keep("a1", arm)
    assert kept.find("a1") == arm
    assert kept.find("a2") is None


def test_what_cannot_be_read_runs_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.keep("a1", an_arm([1], [10]))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert kept.find("a1") is None
