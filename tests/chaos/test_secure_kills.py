"""kill -9 of workers, coordinator and database, at every stage of secure aggregation."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from chaos.killing import Chaos, chosen_kills, chosen_seed, database, run_chaos
from chaos.secure_crowd import SECURE, SECURE_ROUNDS, SecureCrowd
from chaos.secure_verdict import check_secure_books, check_sum
from chaos.site import NUM_DEVICES, SPECS, Site
from sqlalchemy import func, select

from aggregation_service.rounds.groups import STAGES_UNDER_WAY
from aggregation_service.storage.tables import secure_groups

_MOMENT_WITHIN_S = 5.0
"""A round takes a second or two, and one more where a kill before left its groups without members."""


class SecureChaos(Chaos):
    """Kills at the stages of groups."""

    moments = ("sharing", "masking", "confirming", "unmasking", "done", "closing")

    def __init__(self, site: Site, crowd: SecureCrowd, seed: int) -> None:
        super().__init__(site, crowd, seed)
        self.secure_crowd = crowd
        self.groups: Counter[str] = Counter()

    def check(self) -> Counter[str]:
        ended, self.groups = check_secure_books(self.site, self.secure_crowd)
        print(f"groups {dict(self.groups)}")  # noqa: T201  # seen with -s
        return ended

    def wait_for(self, moment: str) -> bool:
        if moment == "closing":
            return super().wait_for(moment)
        before = self._count(moment) if moment == "done" else 0
        came = self.site.wait_until(lambda: self._count(moment) > before, _MOMENT_WITHIN_S)
        time.sleep(self.random.choice([0.0, 0.002, 0.01, 0.03]))  # some members have answered by then, and some not
        return came

    def _count(self, stage: str) -> int:
        at_stage = select(func.count()).select_from(secure_groups).where(secure_groups.c.stage == stage)
        with self.site.database.read() as connection:
            return connection.scalar(at_stage) or 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_secure_rounds_are_the_sums_of_those_they_count(kind: str, tmp_path: Path) -> None:
    with database(kind) as server:
        site = Site(tmp_path / "service", server, plan=SECURE, parameters=SECURE_ROUNDS)
        crowd_seed = chosen_seed(4)
        chaos = SecureChaos(site, SecureCrowd(site, crowd_seed), crowd_seed)
        run_chaos(site, chaos, chosen_kills(9))
    assert chaos.groups["done"] > 0


def test_moments_are_stages() -> None:
    assert set(SecureChaos.moments[:4]) == {stage.value for stage in STAGES_UNDER_WAY}


def test_a_sum_with_one_input_less_or_twice_would_be_found() -> None:
    site = Site(Path(), None, plan=SECURE)
    crowd = SecureCrowd(site, 0)
    inputs = np.random.default_rng(3).normal(0, 0.1, (NUM_DEVICES, SPECS[0].size))
    crowd.sent = {("round", number): values for number, values in enumerate(inputs)}
    counted = set(range(NUM_DEVICES))
    total = inputs.sum(axis=0)
    check_sum(crowd, "round", counted, total.astype(np.float32))
    for wrong in (total - inputs[2], total + inputs[2]):
        with pytest.raises(AssertionError, match="steps away"):
            check_sum(crowd, "round", counted, wrong.astype(np.float32))
