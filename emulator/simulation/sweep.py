"""Running a sweep: the runs that differ in what was asked for, on the same people, cohorts, first weights and seeds."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from emulator.simulation.outcome import RunOutcome, Sweep, find_run, keep_run
from emulator.simulation.settings import RunSettings
from evaluation.answers import InvalidScores
from evaluation.metrics import Accuracy, evaluate, pool
from evaluation.predictors import NetworkPredictor
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.people import draw_cohorts, draw_seed
from evaluation.report import software_versions
from evaluation.targets import SuggestionIndex, TypedMessage, type_messages
from model.averaging import tail_average
from protocol.weights import Weights
from tokenizer.examples import Examples, make_examples

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows a progress bar with a title and a number of steps; gives what moves it on by one."""


@dataclass(frozen=True)
class HeldOut:
    """The newest messages of people who never train, as ids."""

    index: SuggestionIndex
    typed: Mapping[str, Sequence[TypedMessage]]

    @classmethod
    def of(cls, ground: Ground) -> "HeldOut":
        """Takes as many messages of each person as the settings say."""
        newest, vocabulary = ground.settings.test_messages, ground.vocabulary
        typed = {user: type_messages(texts[-newest:], vocabulary) for user, texts in ground.people.held_out.items()}
        return cls(SuggestionIndex(vocabulary), typed)

    def accuracy(self, weights: Weights) -> Accuracy:
        """Over all of them.

        Raises:
          InvalidScores: the weights give scores that are not finite.

        """
        return pool(evaluate(NetworkPredictor(weights), self.typed, self.index).values())


def run_sweep(
    preset: str, ground: Ground, runs: Sequence[RunSettings], *, folder: Path, num_threads: int, bar: Bar
) -> Sweep:
    """Runs all that `folder` does not hold yet.

    Args:
      preset: name of the ground's settings, for the report.
      ground: people, vocabulary and first weights.
      runs: at least one.
      folder: where finished runs are kept.
      num_threads: devices that train at the same time.
      bar: shows the progress of a run.

    Raises:
      ValueError: a cohort is larger than the population.

    """
    held_out = HeldOut.of(ground)
    examples = _examples(ground)
    outcomes = []
    for run in runs:
        key = run.key(ground.fingerprint)
        outcome = find_run(folder, key)
        if outcome is None:
            with bar(title(run), run.rounds) as on_round:
                outcome = run_one(run, ground, examples, held_out, num_threads=num_threads, on_round=on_round)
            keep_run(folder, key, outcome)
        outcomes.append(outcome)
    return Sweep(
        preset=preset,
        devices=len(examples),
        held_out=len(held_out.typed),
        pretrained=held_out.accuracy(ground.pretrained),
        runs=tuple(outcomes),
        software=software_versions(),
    )


def run_one(
    run: RunSettings,
    ground: Ground,
    examples: Mapping[str, Examples],
    held_out: HeldOut,
    *,
    num_threads: int,
    on_round: Callable[[], None],
) -> RunOutcome:
    """Runs all rounds of one run and measures the average of its last checkpoints, as a release is made of.

    Guarantees:
      Cohorts and the order of each device's examples depend on seed, cohort and people alone.

    """
    from emulator.simulation.learning import Simulation
    from emulator.simulation.runtime import tff_runtime

    settings = replace(ground.settings, rounds=run.rounds, cohort=run.cohort, seed=run.seed)
    checkpoints: deque[Weights] = deque(maxlen=settings.averaged_checkpoints)
    began = time.perf_counter()
    with tff_runtime(num_threads):
        simulation = Simulation(run, settings.training, settings.shape.tensors, ground.pretrained)
        for number, cohort in enumerate(draw_cohorts(sorted(examples), settings), start=1):
            simulation.close_round(
                [(examples[device], draw_seed(run.seed, "device", number, device)) for device in cohort]
            )
            checkpoints.append(simulation.weights)
            on_round()
    return RunOutcome(
        settings=run,
        accuracy=_accuracy(held_out, list(checkpoints)),
        lost_rounds=simulation.lost_rounds,
        seconds=time.perf_counter() - began,
    )


def title(run: RunSettings) -> str:
    """A run in a few words."""
    kind = type(run.optimizer).__name__.removeprefix("Server").lower()
    return (
        f"{run.aggregator}, noise {run.noise_multiplier:g}, clip {run.l2_clip_norm:g}, "
        f"device {run.learning_rate:g}, {kind} {run.optimizer.learning_rate:g}"
    )


def _accuracy(held_out: HeldOut, checkpoints: Sequence[Weights]) -> Accuracy | None:
    try:
        return held_out.accuracy(tail_average(checkpoints, len(checkpoints)))
    except InvalidScores:
        return None


def _examples(ground: Ground) -> dict[str, Examples]:
    """What each device trains on; one without any target has nothing to train and is never selected."""
    vocabulary, length = ground.vocabulary, ground.settings.training.sequence_length
    made = {
        device: make_examples([vocabulary.encode_message(text) for text in texts], vocabulary, length)
        for device, texts in ground.people.training.items()
    }
    return {device: examples for device, examples in made.items() if examples.num_targets}
