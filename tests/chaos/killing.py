"""Kills by seeded choice, and what must have happened after each: a takeover, a round that closes, clean books."""

import contextlib
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Iterator

from chaos.crowd import Crowd
from chaos.site import Site, running_site
from chaos.verdict import check_books, check_nothing_in_the_clear
from postgres import PostgresServer, postgres_server

SEED_VARIABLE = "KEYCHORUS_CHAOS_SEED"
KILLS_VARIABLE = "KEYCHORUS_CHAOS_KILLS"
TAKEOVER_WITHIN_S = 10.0
_NEXT_ROUND_WITHIN_S = 60.0
_MOMENT_WITHIN_S = 2.0
_START_WITHIN_S = 60.0

TARGETS = ("worker", "coordinator", "database")
MOMENTS = ("idle", "selection", "sending", "acknowledged", "closing", "ledger")


class Chaos:
    """Kills by a seed: the same seed gives the same targets and moments, though not the same milliseconds."""

    moments: tuple[str, ...] = MOMENTS

    def __init__(self, site: Site, crowd: Crowd, seed: int) -> None:
        self.site = site
        self.crowd = crowd
        self.seed = seed
        self.random = random.Random(seed)
        self.done: list[str] = []
        self.takeovers_s: list[float] = []
        self.missed = 0
        self._checked_at = 0.0

    def run(self, kills: int) -> Counter[str]:
        """Kills that often, then checks the books; returns how many rounds ended how."""
        self.crowd.start()
        try:
            for target, moment in self.plan(kills):
                self.kill(target, moment)
            self.crowd.rest()
            self.site.wait_until(lambda: self.site.phase()[1] == 0, _NEXT_ROUND_WITHIN_S, "all rounds must end")
        finally:
            self.crowd.stop()
        return self.check()

    def check(self) -> Counter[str]:
        """What must be true in the end; returns how many rounds ended how."""
        return check_books(self.site, self.crowd)

    def plan(self, kills: int) -> Iterator[tuple[str, str]]:
        """Every pair of target and moment as often as every other, in shuffled order."""
        pairs: list[tuple[str, str]] = []
        for _ in range(kills):
            if not pairs:
                pairs = list(itertools.product(TARGETS, self.moments))
                self.random.shuffle(pairs)
            yield pairs.pop()

    def kill(self, target: str, moment: str) -> None:
        """Waits for the moment, kills, and sees the service run rounds again."""
        self.done.append(f"{target} at {moment}")
        self.site.wait_until(self.site.all_ready, _START_WITHIN_S, "all workers must be ready")
        self.missed += not self.wait_for(moment)
        epoch, number = self.site.leader()[0], self.site.newest_round()
        killed_at = time.monotonic()
        getattr(self.site, f"kill_{target}")()
        self.crowd.go_on()
        if target == "coordinator":
            within_s = TAKEOVER_WITHIN_S
            self.site.wait_until(lambda: self.site.leader()[0] > epoch, within_s, "another process must lead")
            self.takeovers_s.append(time.monotonic() - killed_at)
        self.site.wait_until(lambda: self.site.closed_after(number), _NEXT_ROUND_WITHIN_S, "a new round must close")
        since, self._checked_at = self._checked_at, time.time()
        check_nothing_in_the_clear(self.site, since)

    def wait_for(self, moment: str) -> bool:
        """Whether the moment came; if not, the kill happens anyway, whenever that is."""
        site, crowd = self.site, self.crowd
        match moment:
            case "idle":
                crowd.rest()
                return site.wait_until(lambda: site.phase()[1] == 0, _MOMENT_WITHIN_S)
            case "selection":
                return site.wait_until(lambda: site.phase()[0] == "selection" and site.phase()[1] > 0, _MOMENT_WITHIN_S)
            case "closing":
                return site.wait_until(lambda: site.phase()[0] == "closing", _MOMENT_WITHIN_S)
            case "ledger":
                length = site.ledger_length()
                return site.wait_until(lambda: site.ledger_length() > length, _MOMENT_WITHIN_S)
            case _:
                came = crowd.wait_for(moment, _MOMENT_WITHIN_S)
                time.sleep(self.random.choice([0.0, 0.002, 0.005, 0.01]))
                return came


def run_chaos(site: Site, chaos: Chaos, kills: int) -> None:
    """Kills, checks, and prints what happened; a failure names the seed that gives it again."""
    with running_site(site):
        try:
            ended = chaos.run(kills)
        except AssertionError as error:
            raise AssertionError(f"{SEED_VARIABLE}={chaos.seed}, after {chaos.done}: {error}") from None
    crowd = chaos.crowd
    counts = f"{len(crowd.sent)} reports, {len(crowd.acknowledged)} acknowledged, {site.restarts} restarts"
    missed = f"{kills} kills of which {chaos.missed} missed their moment"
    slowest = f"slowest takeover {max(chaos.takeovers_s, default=0.0):.1f} s"
    print(f"seed {chaos.seed}: {missed}, {slowest}, {counts}, rounds {dict(ended)}")  # noqa: T201  # seen with -s
    assert ended["closed"] >= kills / 2


@contextlib.contextmanager
def database(kind: str) -> Iterator[PostgresServer | None]:
    """A server of its own, for it will be killed."""
    if kind == "sqlite":
        yield None
        return
    with postgres_server() as server:
        yield server


def chosen_seed(default: int) -> int:
    return int(os.environ.get(SEED_VARIABLE, default))


def chosen_kills(default: int) -> int:
    return int(os.environ.get(KILLS_VARIABLE, default))
