"""kill -9 of workers, coordinator and database, by seeded choice, while devices report without pause."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from chaos.crowd import Crowd
from chaos.killing import MOMENTS, TARGETS, Chaos, chosen_kills, chosen_seed, database, run_chaos
from chaos.site import BRAND, SPECS, Site, first_weights
from chaos.verdict import brands
from postgres import PostgresServer

from protocol.update import encode_update


def run(folder: Path, server: PostgresServer | None, *, kills: int, seed: int) -> None:
    site = Site(folder / "service", server)
    run_chaos(site, Chaos(site, Crowd(site, seed), seed), kills)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_what_was_acknowledged_is_counted_once(kind: str, tmp_path: Path) -> None:
    with database(kind) as server:
        run(tmp_path, server, kills=5, seed=chosen_seed(56))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_kills(kind: str, tmp_path: Path) -> None:
    """Each pair of target and moment once; KEYCHORUS_CHAOS_KILLS=100 makes it the two hundred of docs/operations.md."""
    with database(kind) as server:
        run(tmp_path, server, kills=chosen_kills(18), seed=chosen_seed(2))


def test_a_report_in_the_clear_would_be_found() -> None:
    update = np.zeros(SPECS[0].shape, np.float32)
    update[3, : BRAND.size] = BRAND
    assert brands()[0] in encode_update(update.ravel())
    assert brands()[1] in update.astype(np.float64).tobytes()


def test_no_average_is_mistaken_for_a_report() -> None:
    for count in range(1, 1000):
        for dtype in (np.float32, np.float64):
            averaged = (first_weights()[:, : BRAND.size] + count * BRAND / 4).astype(dtype).tobytes()
            assert not any(brand in averaged for brand in brands())


def test_kills_are_the_same_for_the_same_seed() -> None:
    def pairs(seed: int) -> list[tuple[str, str]]:
        return list(Chaos(None, None, seed).plan(40))  # type: ignore[arg-type]

    assert pairs(3) == pairs(3) != pairs(4)
    assert set(pairs(3)) == set(itertools.product(TARGETS, MOMENTS))
