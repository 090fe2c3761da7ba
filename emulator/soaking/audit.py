"""The audit of a soak: round for round as they end, and everything once more at the end."""

from collections.abc import Sequence

from sqlalchemy import Connection

from emulator.soaking.books import EndedRound, read_ended, read_ledger, read_weights
from emulator.soaking.checks import (
    check_acknowledged,
    check_ending,
    check_ledger,
    check_memory,
    compare_sum,
)
from emulator.soaking.witness import LATE_S, Witness
from evaluation.soak.outcome import MemorySlope, SoakCheck, SoakRound
from evaluation.soak.report import tell_slope


class Audit:
    """Compares the service's books with what devices know.

    Attributes:
      closed: rounds that were closed so far.

    """

    def __init__(self, witness: Witness):
        self.closed = 0
        self._witness = witness
        self._ended: list[EndedRound] = []
        self._sums: dict[str, tuple[float, float]] = {}
        self._failures: list[str] = []

    @property
    def ended(self) -> int:
        """Rounds that ended so far."""
        return len(self._ended)

    def look(self, connection: Connection) -> bool:
        """Checks the rounds that ended since the last look; returns whether any did."""
        last = self._ended[-1].number if self._ended else 0
        new = read_ended(connection, self._witness.population, last)
        for ended in new:
            self._ended.append(ended)
            self._failures += check_ending(ended)
            self._check_sum(connection, ended)
        self.closed += sum(ended.is_closed for ended in new)
        return bool(new)

    def rounds(self) -> tuple[SoakRound, ...]:
        """All that ended, for the report."""
        return tuple(self._told(ended) for ended in self._ended)

    def finish(self, connection: Connection, *, now: float, wanted: int) -> list[SoakCheck]:
        """The checks of books and devices, at the end of the fleet's life."""
        self.look(connection)
        lost = [failure for each in self._closed() for failure in check_acknowledged(each, self._acknowledged(each))]
        ledger = read_ledger(connection, self._witness.population)
        return [
            SoakCheck(name="rounds", found=f"{self.closed} of {self.ended} closed", failures=self._too_few(wanted)),
            SoakCheck(name="sums", found=self._tell_sums(), failures=tuple(self._failures)),
            SoakCheck(name="acknowledged updates", found=self._tell_acknowledged(), failures=tuple(lost)),
            SoakCheck(
                name="ledger",
                found=f"{len(ledger.released)} releases booked, {self.closed} made",
                failures=tuple(check_ledger(ledger, self._ended)),
            ),
            SoakCheck(name="devices", found=self._tell_devices(), failures=tuple(self._witness.stuck(now))),
        ]

    def _check_sum(self, connection: Connection, ended: EndedRound) -> None:
        updates = self._witness.end_round(ended.id)
        if not ended.is_closed:
            return
        plan, population = self._witness.plan, self._witness.population
        before, after = (
            read_weights(connection, population, version, plan.tensors)
            for version in (ended.model_version, ended.model_version + 1)
        )
        if before is None or after is None:
            self._failures.append(f"round {ended.number} must leave its weights, and those before it, got none")
            return
        compared = compare_sum(ended, before, after, updates, plan.privacy.report_goal)
        self._sums[ended.id] = compared.off, compared.least_update
        self._failures += compared.failures

    def _closed(self) -> list[EndedRound]:
        return [ended for ended in self._ended if ended.is_closed]

    def _acknowledged(self, ended: EndedRound) -> frozenset[str]:
        return frozenset(self._witness.of_round(ended.id))

    def _told(self, ended: EndedRound) -> SoakRound:
        off, least_update = self._sums.get(ended.id, (None, None))
        return SoakRound(
            number=ended.number,
            because=ended.because if not ended.is_closed else "",
            duration_s=ended.duration_s,
            selected=ended.selected,
            counted=ended.reported,
            acknowledged=len(self._acknowledged(ended) & ended.counted),
            off=off,
            least_update=least_update,
        )

    def _too_few(self, wanted: int) -> tuple[str, ...]:
        if self.closed >= wanted:
            return ()
        return (f"{wanted} rounds must close within the soak's time, {self.closed} did",)

    def _tell_sums(self) -> str:
        if not self._sums:
            return "none released"
        off = max(off for off, _ in self._sums.values())
        least = min(least for _, least in self._sums.values())
        return (
            f"{len(self._sums)} sums at most {off:.2g} float32 steps from the counted updates'; "
            f"one update more or less would be {least:,.0f}"
        )

    def _tell_acknowledged(self) -> str:
        known = sum(len(self._acknowledged(each)) for each in self._closed())
        counted = sum(each.reported for each in self._closed())
        abandoned = sum(len(self._acknowledged(each)) for each in self._ended if not each.is_closed)
        return f"{known} of {counted} counted ones; {abandoned} more in rounds that were abandoned in the open"

    def _tell_devices(self) -> str:
        witness = self._witness
        return (
            f"the latest acted {witness.latest[1]:.0f} s after its time, of {LATE_S:.0f}; "
            f"the longest without an answer was {witness.longest_unserved_s:.0f} s"
        )


def memory_check(slopes: Sequence[MemorySlope]) -> SoakCheck:
    """Whether memory is flat, and what its slopes are."""
    found = "; ".join(f"{each.role} {tell_slope(each)}" for each in slopes)
    return SoakCheck(name="memory", found=found or "too few rounds to tell", failures=tuple(check_memory(slopes)))


def processes_check(left: Sequence[str]) -> SoakCheck:
    """Whether all processes of the soak have ended, given the names of those that have not."""
    failures = (f"all processes must end, {', '.join(left)} did not",) if left else ()
    return SoakCheck(name="processes", found=f"{len(left)} left", failures=failures)
