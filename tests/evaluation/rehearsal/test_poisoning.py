"""What 5 % of hostile devices do, on real text at the small size: the figures of docs/poisoning.md."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from evaluation.corpus import load_chitchat
from evaluation.rehearsal.arms import Arm, run_arm
from evaluation.rehearsal.attacks import Attack, Backdoor, Backdoored, Boosted, SignFlipped
from evaluation.rehearsal.ground import Ground, lay_ground
from evaluation.rehearsal.local_training import OneProcess, Trainers, open_trainers
from evaluation.rehearsal.measuring import Measuring
from evaluation.rehearsal.outcome import ArmOutcome, difference
from evaluation.rehearsal.people import draw_attackers, gather_people
from evaluation.rehearsal.settings import small_size
from evaluation.rehearsal.ways import PlainMean, Secure

Run = Callable[[Arm], ArmOutcome]
MAX_LOSS_POINTS = 1.0


@pytest.fixture(scope="module")
def small(tensorflow: None, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    settings = small_size(group_size=10)
    people = gather_people(load_chitchat(), settings)
    return lay_ground(settings, people, tmp_path_factory.mktemp("small"), lambda: None)


@pytest.fixture(scope="module")
def run(small: Ground) -> Iterator[Run]:
    done: dict[Arm, ArmOutcome] = {}
    with running(small, done) as run_once:
        yield run_once


@contextmanager
def running(ground: Ground, done: dict[Arm, ArmOutcome]) -> Iterator[Run]:
    measuring = Measuring.of(ground, Backdoor.of(ground.vocabulary))
    trainers: Trainers
    with open_trainers(ground.settings.plain_plan, ground.graph, ground.vocabulary, 2) as trainers:

        def run_once(arm: Arm) -> ArmOutcome:
            if arm not in done:
                done[arm] = run_arm(arm, ground, measuring, trainers, lambda: None)
            return done[arm]

        yield run_once


def attack_named(name: str, backdoor: Backdoor) -> Attack:
    return {"boosted": Boosted(), "sign-flipped": SignFlipped(), "backdoored": Backdoored(backdoor)}[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["boosted", "sign-flipped", "backdoored"])
def test_plain_updates_that_are_clipped_again_cost_less_than_a_point(run: Run, small: Ground, name: str) -> None:
    clean = run(Arm(PlainMean()))
    attacked = run(Arm(PlainMean(), attack_named(name, Backdoor.of(small.vocabulary))))
    assert sum(row.attackers for row in attacked.rounds) >= 0.04 * 20 * small.settings.rounds
    assert difference(attacked, clean).points >= -MAX_LOSS_POINTS
    assert attacked.backdoor_success <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sign-flipped", "backdoored"])
def test_what_passes_a_groups_check_costs_less_than_a_point(run: Run, small: Ground, name: str) -> None:
    attacked = run(Arm(Secure(10), attack_named(name, Backdoor.of(small.vocabulary))))
    assert attacked.dropped_groups == 0
    assert difference(attacked, run(Arm(Secure(10)))).points >= -MAX_LOSS_POINTS


@pytest.mark.slow
def test_boosted_updates_cost_secure_groups_and_never_reach_a_sum(run: Run, small: Ground) -> None:
    """What this costs in recall is stated in docs/poisoning.md: fewer updates, and rounds that are lost."""
    attacked, clean = run(Arm(Secure(10), Boosted())), run(Arm(Secure(10)))
    assert attacked.dropped_groups > 0
    assert all((row.dropped_groups > 0) == (row.attackers > 0) for row in attacked.rounds)
    assert (
        clean.accuracy.top1 > attacked.accuracy.top1 > run(Arm(PlainMean(clips_again=False), Boosted())).accuracy.top1
    )


def test_many_attackers_open_the_backdoor(ground: Ground, backdoor: Backdoor) -> None:
    """The attack works: what keeps it out is how few attack, not that it could not be learned."""
    settings = replace(ground.settings, attackers=0.4)
    hostile, measuring = replace(ground, settings=settings), Measuring.of(ground, backdoor)
    trainers = OneProcess(settings.plain_plan, ground.graph, ground.vocabulary.model)
    attacked = run_arm(Arm(PlainMean(), Backdoored(backdoor)), hostile, measuring, trainers, lambda: None)
    assert draw_attackers(ground.people.training, settings)
    assert measuring.backdoor_success(ground.pretrained) <= 0.1
    assert attacked.backdoor_success >= 0.9
