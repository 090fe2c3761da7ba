"""The two rehearsals: what the codec costs in recall, and what a few attackers cost."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from aggregation_service.rounds.combining import Median, TrimmedMean
from evaluation.metrics import pool
from evaluation.rehearsal.arms import Arm, run_arm
from evaluation.rehearsal.attacks import Attack, Backdoor, Backdoored, Boosted, Random, SignFlipped
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import open_trainers
from evaluation.rehearsal.measuring import Measuring
from evaluation.rehearsal.outcome import ArmOutcome, Comparison, Kept, Rehearsal, difference
from evaluation.rehearsal.people import draw_attackers
from evaluation.rehearsal.settings import RehearsalSettings
from evaluation.rehearsal.ways import PlainMean, Robust, Secure, Way
from evaluation.report import software_versions

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows a progress bar with a title and a number of steps; gives what moves it on by one."""

WAYS = ("plain", "median", "trimmed", "secure", "unchecked")
TRIM = 0.1


def codec_arms(settings: RehearsalSettings, *, with_int16: bool) -> list[Arm]:
    """float32 uploads, and those that secure aggregation sums; the first is what the others are held against."""
    ways: list[Way] = [PlainMean("float32"), Secure(settings.group_size)]
    if with_int16:
        ways.insert(1, PlainMean("int16"))
    return [Arm(way) for way in ways]


def poisoning_arms(settings: RehearsalSettings, backdoor: Backdoor, ways: Iterable[str] = WAYS) -> list[Arm]:
    """Each way without attackers, then under each attack that says something about it.

    Args:
      settings: of the rehearsal.
      backdoor: that attackers teach.
      ways: of `WAYS`.

    """
    usual: list[Attack] = [Boosted(), SignFlipped(), Backdoored(backdoor)]
    # Half of what a group's norm leaves: the others' sum takes some of it, and nobody knows how much.
    hidden = Backdoored(backdoor, times_clip_norm=settings.group_size / 2, name="hidden backdoor")
    listed: dict[str, tuple[Way, Sequence[Attack]]] = {
        "plain": (PlainMean(), [*usual, Random()]),
        "median": (Robust(Median(), "median"), usual),
        "trimmed": (Robust(TrimmedMean(trim=TRIM), "trimmed mean"), usual),
        "secure": (Secure(settings.group_size), [*usual, hidden]),
        "unchecked": (PlainMean(clips_again=False), [Boosted()]),
    }
    chosen = [listed[name] for name in WAYS if name in set(ways)]
    return [Arm(way, attack) for way, attacks in chosen for attack in (None, *attacks)]


def rehearse(
    name: str,
    size: str,
    arms: Sequence[Arm],
    ground: Ground,
    backdoor: Backdoor,
    *,
    folder: Path,
    num_workers: int,
    bar: Bar,
) -> Rehearsal:
    """Runs all arms that `folder` does not hold yet.

    Args:
      name: of the rehearsal.
      size: of the network, for the report.
      arms: of distinct names; in `codec` all are held against the first, else those with an attack against the one of
        the same way without.
      ground: what they share.
      backdoor: whose success is measured in all arms.
      folder: where finished arms are kept.
      num_workers: processes that train; 0 trains in this one.
      bar: shows the progress of an arm.

    """
    settings = ground.settings
    measuring, kept = Measuring.of(ground, backdoor), Kept(folder)
    with open_trainers(settings.plain_plan, ground.graph, ground.vocabulary, num_workers) as trainers:
        outcomes = []
        for arm in arms:
            outcome = kept.find(arm.key(ground))
            if outcome is None:
                with bar(arm.name, settings.rounds) as on_round:
                    outcome = run_arm(arm, ground, measuring, trainers, on_round)
                kept.keep(arm.key(ground), outcome)
            outcomes.append(outcome)
    before = measuring.recall(ground.pretrained)
    return Rehearsal(
        name=name,
        size=size,
        seed=settings.seed,
        cohort=settings.cohort,
        devices=len(ground.people.training),
        attackers=len(draw_attackers(ground.people.training, settings)) if name == "poisoning" else 0,
        trigger=backdoor.trigger,
        word=backdoor.word,
        pretrained=pool(measuring.by_user(ground.pretrained)),
        pretrained_curve_top1=before.top1,
        num_curve_targets=before.num_targets,
        arms=tuple(outcomes),
        comparisons=tuple(_compare(outcomes, same_way=name == "poisoning")),
        software=software_versions(),
    )


def _compare(arms: Sequence[ArmOutcome], *, same_way: bool) -> Iterable[Comparison]:
    """Each arm with the one that it is held against: the first, or the one of its way without attackers."""
    for arm in arms:
        against = next((each for each in arms if each.way == arm.way and each.attack is None), None)
        reference = against if same_way else arms[0]
        if reference is not None and reference is not arm:
            yield Comparison(arm=arm.name, against=reference.name, top1=difference(arm, reference))
