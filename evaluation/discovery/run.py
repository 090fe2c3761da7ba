"""The arms of a rehearsal: each epsilon, for the devices that there are and for populations that they stand for."""

import hashlib
import time
from collections.abc import Callable

from evaluation.discovery.levels import Discovery, Tally, discover
from evaluation.discovery.noise import noise_for
from evaluation.discovery.outcome import DiscoveryArm, DiscoveryReport, Found
from evaluation.discovery.settings import DiscoverySettings
from evaluation.discovery.typed import TypedWords
from evaluation.report import software_versions
from protocol.discovery.advancing import survival_threshold


def rehearse_discovery(
    typed: TypedWords, settings: DiscoverySettings, *, corpus: str, on_level: Callable[[], None]
) -> DiscoveryReport:
    """Runs all arms.

    Args:
      typed: the devices and their words.
      settings: of the rehearsal.
      corpus: its name, for the report.
      on_level: called `count_levels(settings)` times, for a progress bar.

    Raises:
      ValueError: a population with fewer devices than there are.

    """
    least = min(settings.populations, default=typed.devices)
    if least < typed.devices:
        raise ValueError(f"populations must have at least the {typed.devices} devices that there are, got {least}")
    tally = Tally(typed, settings)
    return DiscoveryReport(
        corpus=corpus,
        devices=typed.devices,
        voters=typed.voters,
        unknown_words=len(typed.people),
        vocabulary_size=settings.vocabulary_size,
        parameters=settings.parameters,
        delta=settings.delta,
        frequent=settings.frequent,
        seed=settings.seed,
        arms=tuple(
            _arm(typed, tally, settings, epsilon=epsilon, population=population, on_level=on_level)
            for population in (typed.devices, *settings.populations)
            for epsilon in settings.epsilons
        ),
        software=software_versions(),
    )


def count_levels(settings: DiscoverySettings) -> int:
    """Levels of all arms together."""
    return (1 + len(settings.populations)) * len(settings.epsilons) * len(settings.parameters.steps)


def _arm(
    typed: TypedWords,
    tally: Tally,
    settings: DiscoverySettings,
    *,
    epsilon: float,
    population: int,
    on_level: Callable[[], None],
) -> DiscoveryArm:
    """One discovery whose noise is to the simulated devices what that of the population is to all its devices.

    The threshold is that of the scaled noise, so that not even here does what one device has come out.
    """
    began = time.perf_counter()
    parameters = settings.parameters
    noise = noise_for(epsilon, settings.delta, parameters, population)
    scale = typed.devices / population
    grid = noise.scaled(scale)
    threshold = survival_threshold(grid.sigma * grid.step, parameters)
    seed = hashlib.sha256(f"{settings.seed}\n{epsilon}\n{population}".encode()).digest()
    result = discover(tally, parameters, grid=grid, threshold=threshold, seed=seed, on_level=on_level)
    people = [typed.people[found.word] for found in result.words]
    return DiscoveryArm(
        epsilon=epsilon,
        population=population,
        noise_multiplier=noise.noise_multiplier,
        noise_deviation=noise.deviation,
        epsilon_spent=noise.spent.epsilon,
        scale=scale,
        threshold=threshold,
        words=len(people),
        lone_words=sum(count <= 1 for count in people),
        fewest_people=min(people, default=None),
        prefixes=tuple(len(level) for level in result.prefixes),
        lone_prefixes=count_lone(result, typed),
        found=tuple(found_of(result, typed, least) for least in settings.ladder),
        seconds=time.perf_counter() - began,
    )


def found_of(result: Discovery, typed: TypedWords, people: int) -> Found:
    """Precision and recall against the unknown words that at least so many people typed."""
    true_words = {word for word, count in typed.people.items() if count >= people}
    came_out = {found.word for found in result.words}
    hits = len(came_out & true_words)
    return Found(
        people=people,
        true_words=len(true_words),
        found_words=hits,
        precision=hits / len(came_out) if came_out else None,
        recall=hits / len(true_words) if true_words else None,
    )


def count_lone(result: Discovery, typed: TypedWords) -> int:
    """Prefixes of the levels' lists that one device at most votes for."""
    lone = 0
    for level in filter(None, result.prefixes):
        voters = typed.devices_by_prefix(len(level[0]))
        lone += sum(voters[prefix] <= 1 for prefix in level)
    return lone
