from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.rehearsal.arms import Arm
from evaluation.rehearsal.attacks import Backdoor
from evaluation.rehearsal.comparisons import WAYS, codec_arms, poisoning_arms, rehearse
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.outcome import Rehearsal
from evaluation.rehearsal.settings import small_size
from evaluation.rehearsal.ways import Secure


class Bars:
    """Notes which arms ran, and how far."""

    def __init__(self) -> None:
        self.ran: dict[str, int] = {}

    @contextmanager
    def __call__(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        def on_round() -> None:
            self.ran[title] += 1
            assert self.ran[title] <= total

        self.ran[title] = 0
        yield on_round


def run(name: str, arms: list[Arm], ground: Ground, folder: Path, bars: Bars) -> Rehearsal:
    backdoor = Backdoor.of(ground.vocabulary)
    return rehearse(name, "tiny", arms, ground, backdoor, folder=folder, num_workers=0, bar=bars)


@pytest.fixture(scope="module")
def short(ground: Ground) -> Ground:
    return replace(ground, settings=replace(ground.settings, rounds=1))


def test_what_finished_does_not_run_again(short: Ground, tmp_path: Path) -> None:
    arms, bars = codec_arms(short.settings, with_int16=True), Bars()
    run("codec", arms[:2], short, tmp_path, bars)
    assert bars.ran == {"mean of float32": 1, "mean of int16": 1}
    again = Bars()
    whole = run("codec", arms, short, tmp_path, again)
    assert again.ran == {"secure, groups ≤ 10": 1}
    assert [arm.name for arm in whole.arms] == [arm.name for arm in arms]
    assert [each.against for each in whole.comparisons] == ["mean of float32"] * 2


def test_attacked_arms_are_held_against_their_own_way(short: Ground, backdoor: Backdoor, tmp_path: Path) -> None:
    arms = [arm for arm in poisoning_arms(short.settings, backdoor, ["median", "plain"]) if arm.attack is None]
    attacked = poisoning_arms(short.settings, backdoor, ["median"])[1]
    found = run("poisoning", [*arms, attacked], short, tmp_path, Bars())
    assert [(each.arm, each.against) for each in found.comparisons] == [("median, boosted", "median")]
    assert found.attackers == 3
    assert found.arm("median, boosted").attack == "boosted"


def test_all_ways_are_attacked_and_names_differ(backdoor: Backdoor) -> None:
    settings = small_size(group_size=10)
    arms = poisoning_arms(settings, backdoor)
    assert len({arm.name for arm in arms}) == len(arms)
    for way in {arm.way for arm in arms}:
        attacks = [arm.attack for arm in arms if arm.way == way]
        assert attacks[0] is None
        assert len(attacks) > 1
    assert sum(len(poisoning_arms(settings, backdoor, [way])) for way in WAYS) == len(arms)


def test_the_codec_is_that_of_full_groups() -> None:
    settings = small_size()
    assert [arm.way for arm in codec_arms(settings, with_int16=False)][1] == Secure(128)
    quantiser = settings.secure_plan.quantiser
    assert quantiser is not None
    assert (quantiser.max_cohort, quantiser.value_bits, quantiser.largest_value) == (128, 12, 15)
