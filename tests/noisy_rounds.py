"""Rounds whose noise is correlated, and what that noise is by an oracle of its own; shared by several tests.

The noise of a round is read off the models: what a version has more than the one before, times the goal, less the sum.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular, toeplitz

from aggregation_service.privacy.ledger import CorrelatedSumReleased, LedgerEvent
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Mechanism,
    Toeplitz,
    Tree,
)
from aggregation_service.privacy.sum_noise import sum_noise
from aggregation_service.rounds.accumulator import SumArray
from aggregation_service.storage import books, models
from aggregation_service.storage.models import Task
from protocol.discrete_gaussian import discrete_gaussian
from protocol.keystream import Keystream

POPULATION = "en-gb"
SIZE = 37
GOAL = 2
NOISE = 8.0
BANDED = BandedToeplitz(coefficients=(1.0, 0.5, 0.375))
BUFFERED = BufferedToeplitz(decays=(0.9, 0.4), scales=(0.25, 0.3))
TREE = Tree(restart_every=4)


def source() -> Callable[[int], bytes]:
    return Keystream(bytes(32), b"noise of the tests").read


def expected_noise(task: Task, steps: int) -> SumArray:
    """[steps, size] in units of weight change, from the same bytes, by linear algebra in floats."""
    noise, read = sum_noise(task.plan, task.parameters), source()
    assert noise.grid is not None
    sigma = Fraction(noise.grid.sigma)

    def draw() -> SumArray:
        return noise.grid.step * discrete_gaussian(sigma, SIZE, read) if noise.grid else np.zeros(SIZE)

    mechanism = task.parameters.mechanism
    if isinstance(mechanism, Tree):
        return tree_noise(mechanism, steps, draw)
    fresh = np.array([draw() for _ in range(steps)])
    solved: SumArray = solve_triangular(matrix(mechanism, steps), fresh, lower=True)
    return solved


def matrix(mechanism: Toeplitz, steps: int) -> SumArray:
    """C, from the definitions in the papers."""
    column = np.zeros(steps)
    column[0] = 1
    if isinstance(mechanism, BandedToeplitz):
        column[: len(mechanism.coefficients)] = mechanism.coefficients[:steps]
    elif isinstance(mechanism, BufferedToeplitz):
        for lag in range(1, steps):
            pairs = zip(mechanism.decays, mechanism.scales, strict=True)
            column[lag] = sum(scale * decay ** (lag - 1) for decay, scale in pairs)
    lower: SumArray = np.tril(toeplitz(column))
    return lower


def tree_noise(tree: Tree, steps: int, draw: Callable[[], SumArray]) -> SumArray:
    """Honaker's estimates, by least squares over the nodes below each root, of which every step completes some."""
    nodes: dict[tuple[int, int], SumArray] = {}
    prefixes = [np.zeros(SIZE)]
    finished = np.zeros(SIZE)
    for step in range(steps):
        leaf = step % tree.restart_every
        if leaf == 0:
            finished, nodes = prefixes[-1], {}
        span = 1
        while (leaf + 1) % span == 0 and span <= tree.restart_every:
            nodes[leaf + 1 - span, span] = draw()
            span *= 2
        prefixes.append(finished + sum(estimate(nodes, *root) for root in roots(leaf + 1)))
    return np.diff(prefixes, axis=0)


def roots(leaves: int) -> list[tuple[int, int]]:
    """Start and span of the nodes that cover the first leaves, as their binary digits say."""
    found, start = [], 0
    for bit in reversed(range(leaves.bit_length())):
        if leaves >> bit & 1:
            found.append((start, 1 << bit))
            start += 1 << bit
    return found


def estimate(nodes: dict[tuple[int, int], SumArray], start: int, span: int) -> SumArray:
    """The least-squares estimate of the noise's share in a node's sum, from all nodes of its subtree."""
    below = [(first, width) for first, width in nodes if start <= first and first + width <= start + span]
    covers = np.array(
        [[first <= leaf < first + width for leaf in range(start, start + span)] for first, width in below]
    )
    observed = np.array([nodes[node] for node in below])
    fitted, *_ = np.linalg.lstsq(covers.astype(float), observed, rcond=None)
    total: SumArray = fitted.sum(axis=0)
    return total


def create(rehearsal: Any, plans: Any, mechanism: Mechanism, goal: int = GOAL, **parameters: Any) -> None:
    plan = plans(goal=goal, noise=NOISE)
    rehearsal.create_task(plan, over_selection=1.0, mechanism=mechanism, **parameters)


def run_round(rehearsal: Any, devices: Sequence[str | None] = (None, None)) -> SumArray:
    """One round; returns the noise in the step that the model made, float64 [size]."""
    before = rehearsal.weights()[1].astype(np.float64)
    cohort = [rehearsal.select(device_id) for device_id in devices]
    updates = [rehearsal.update() for _ in cohort]
    for selected, values in zip(cohort, updates, strict=True):
        rehearsal.report(selected, values)
    moved: SumArray = len(cohort) * (rehearsal.weights()[1] - before) - np.sum(updates, axis=0, dtype=np.float64)
    return moved


def task_of(rehearsal: Any) -> Task:
    with rehearsal.service.database.read() as connection:
        task = models.newest_task(connection, POPULATION)
    assert task is not None
    return task


def events_of(rehearsal: Any) -> list[LedgerEvent]:
    with rehearsal.service.database.read() as connection:
        return books.list_events(connection, POPULATION)


def steps_of(rehearsal: Any) -> list[int]:
    return [event.step for event in events_of(rehearsal) if isinstance(event, CorrelatedSumReleased)]


def outcomes(rehearsal: Any) -> list[str]:
    return [entry["abandoned_because"] or entry["phase"] for entry in rehearsal.summary()["rounds"]]


def stream_events(rehearsal: Any) -> list[CorrelatedSumReleased]:
    return [event for event in events_of(rehearsal) if isinstance(event, CorrelatedSumReleased)]
