"""The privacy statement: what a release may honestly say about itself, for people and for programs.

Its unit is zero-out adjacency, as in `accounting`: one device's updates, in all rounds, replaced by zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import msgspec

from aggregation_service.privacy import wording
from aggregation_service.privacy.accounting import most_participations, spent_on_charges, spent_on_worst_device
from aggregation_service.privacy.charges import Charge
from aggregation_service.privacy.disclosures import (
    AdaptiveClipping,
    Released,
    RoundFacts,
    Shares,
    Stream,
    count_noised,
    find_clipping,
    list_mechanisms,
    list_plans,
    list_released,
    list_shares,
    list_streams,
)
from aggregation_service.privacy.ledger import DistributedSumReleased, LedgerEvent, SumReleased, VotesReleased
from aggregation_service.privacy.mechanisms.sensitivity import sensitivity


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deployment: devices a round, devices in all, rounds, and what they imply; None means no guarantee."""

    cohort: int
    population: int
    rounds: int
    max_participations: int
    noise_multiplier: float
    epsilon: float | None
    delta: float
    rho: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What a statement says that is not in the ledger: what a population's tasks say.

    Attributes:
      report_goal: of the newest training task.
      minimum_separation_s: likewise.
      robust_rules: names of the rules by which rounds combined updates, keeping each.
      rounds: by id, of the rounds that released something.

    """

    report_goal: int
    minimum_separation_s: float
    robust_rules: tuple[str, ...] = ()
    rounds: Mapping[str, RoundFacts] = field(default_factory=dict)


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the noise protects, how well, and what it does not protect; None (null in JSON) means no guarantee.

    The fields from `noise` on came later: statements that were signed before have none of them.

    Attributes:
      unit: what is protected.
      trust_mode: whom one must trust.
      mechanism: all that made noise, in words; the numbers of those that correlate it are in `streams`.
      noise_multiplier: the least deviation of one draw of noise, as a multiple of how far one report moves what was
        released; what it protects follows from this alone only where no noise is correlated.
      l2_clip_norm: the largest norm that one report can have had, what counts for adaptive clipping included.
      minimum_separation_s: how long a device stays away after it was selected, in seconds.
      report_goal: what noised sums are divided by.
      cohort_sizes: reports in each sum, oldest first, evaluations included; where devices make the noise a sum is that
        of one group.
      max_participations: most reports of one device in all rounds, and all that were lost with a backup.
      epsilon: of (epsilon, delta)-differential privacy, for the device that took part most often.
      delta: at which `epsilon` is told.
      rho: of zero-concentrated differential privacy.
      not_protected: in sentences.
      not_checked: likewise.
      noise: how noise was drawn.
      secure_aggregation: whether every release was a sum that came by secure aggregation.
      streams: of correlated noise.
      shares: of noise that devices added.
      clipping: of rounds whose clipping norm adapted; None where none did.
      released: everything that was computed from device data and released, evaluations included.
      plan_sha256: of the plans of all rounds in it, oldest first.
      ledger_head: hash of the ledger's newest row when this was written: it covers all that the statement is about.
      software_version: that wrote it.

    """

    unit: str = wording.UNIT
    trust_mode: str = wording.PLAIN_UPLOAD
    mechanism: str = wording.GAUSSIAN
    noise_multiplier: float
    l2_clip_norm: float
    minimum_separation_s: float
    report_goal: int
    cohort_sizes: tuple[int, ...]
    max_participations: int
    epsilon: float | None
    delta: float
    rho: float | None
    not_protected: tuple[str, ...] = wording.NOT_PROTECTED
    not_checked: tuple[str, ...] = wording.NOT_CHECKED
    noise: str = ""
    secure_aggregation: bool = False
    streams: tuple[Stream, ...] = ()
    shares: tuple[Shares, ...] = ()
    clipping: AdaptiveClipping | None = None
    released: tuple[Released, ...] = ()
    plan_sha256: tuple[str, ...] = ()
    ledger_head: str = ""
    software_version: str = ""

    def at_scale(self, *, cohort: int, population: int, rounds: int, delta: float) -> Scale:
        """Says what the same noise on the average would give in a larger deployment.

        The noise's standard deviation on the average is z·C / report_goal. A cohort of m devices with that same
        deviation has m / report_goal times the noise on its sum: that is the factor by which z grows. A device that
        took part stays away until the others had their turn, so it takes part once in population / cohort rounds.
        Where noise was correlated, that of the newest stream is assumed for all rounds. Where devices made it, larger
        cohorts are more groups of the same size, and the noise on each group's sum stays what it is.

        Raises:
          ValueError: not 1 <= cohort <= population, or rounds < 1, or nothing was trained, so that there is no noise;
            or more rounds than the sensitivity of correlated noise is known for.

        """
        if self.report_goal < 1:
            raise ValueError(f"report_goal must be >= 1, got {self.report_goal}: nothing was trained")
        if not 1 <= cohort <= population:
            raise ValueError(f"cohort must be between 1 and the population of {population}, got {cohort}")
        if rounds < 1:
            raise ValueError(f"rounds must be >= 1, got {rounds}")
        separation = population // cohort
        participations = math.ceil(rounds / separation)
        noise_multiplier = self.noise_multiplier * (1 if self.shares else cohort / self.report_goal)
        spent = spent_on_charges([self._charge(noise_multiplier, rounds, separation, participations)], delta)
        return Scale(
            cohort=cohort,
            population=population,
            rounds=rounds,
            max_participations=participations,
            noise_multiplier=noise_multiplier,
            epsilon=finite_or_none(spent.epsilon),
            delta=delta,
            rho=finite_or_none(spent.rho),
        )

    def _charge(self, noise_multiplier: float, rounds: int, separation: int, participations: int) -> Charge:
        if not self.streams:
            return Charge(noise_multiplier, participations)
        newest = self.streams[-1].mechanism
        moved = sensitivity(newest, rounds=rounds, min_separation=separation, max_participations=participations)
        return Charge(noise_multiplier / moved, 1)


def make_statement(
    events: Sequence[LedgerEvent], circumstances: Circumstances, *, delta: float, ledger_head: str
) -> PrivacyStatement:
    """Writes the statement of everything that the ledger holds of one population.

    Where rounds differed, the smallest noise multiplier and the largest clipping norm are stated. Releases that were
    lost with a backup are charged to every device; how many took part in them is not known. The trust mode is that of
    secure aggregation if every release was.

    Args:
      events: of one population, oldest first.
      circumstances: what its tasks say.
      delta: in (0, 1), at which epsilon is told.
      ledger_head: the hash of the ledger's row that is the newest of those which `events` are from.

    Raises:
      UnknownEvent: the ledger contradicts itself.
      ValueError: the ledger is empty, so that there is nothing to state.

    """
    if not events:
        raise ValueError("a privacy statement needs at least one ledger event, got none")
    spent = spent_on_worst_device(events, delta)
    sums = [event for event in events if isinstance(event, SumReleased)]
    is_secure = len(sums) == len(events) and all(event.secure_aggregation for event in sums)
    is_distributed = all(isinstance(event, DistributedSumReleased) for event in events)
    streams, shares = list_streams(events, circumstances.rounds), list_shares(events, circumstances.rounds)
    floating, noised = count_noised(events, circumstances.rounds)
    return PrivacyStatement(
        trust_mode=wording.name_trust(is_secure=is_secure, is_distributed=is_distributed),
        mechanism=wording.name_mechanisms(list_mechanisms(events), circumstances.robust_rules),
        not_protected=wording.list_not_protected(
            circumstances.robust_rules,
            is_secure=is_secure,
            has_streams=bool(streams),
            floating=floating,
            noised=noised,
            is_distributed=is_distributed,
            has_discoveries=any(isinstance(event, VotesReleased) for event in events),
        ),
        not_checked=(*wording.NOT_CHECKED, *map(_not_checked, shares)),
        noise_multiplier=min(event.noise_multiplier for event in events),
        l2_clip_norm=max(event.l2_clip_norm for event in events),
        minimum_separation_s=circumstances.minimum_separation_s,
        report_goal=circumstances.report_goal,
        cohort_sizes=tuple(event.num_reports for event in sums),
        max_participations=most_participations(events),
        epsilon=finite_or_none(spent.epsilon),
        delta=delta,
        rho=finite_or_none(spent.rho),
        noise=wording.name_noise(floating=floating, noised=noised),
        secure_aggregation=is_secure,
        streams=streams,
        shares=shares,
        clipping=find_clipping(events, circumstances.rounds),
        released=list_released(events, circumstances.rounds),
        plan_sha256=list_plans(events, circumstances.rounds),
        ledger_head=ledger_head,
        software_version=version("keychorus"),
    )


def untrained_statement(delta: float, *, ledger_head: str) -> PrivacyStatement:
    """States that nothing of a release was computed from device data: the weights it began with, and no more."""
    return PrivacyStatement(
        mechanism=wording.NO_MECHANISM,
        noise_multiplier=0.0,
        l2_clip_norm=0.0,
        minimum_separation_s=0.0,
        report_goal=0,
        cohort_sizes=(),
        max_participations=0,
        epsilon=0.0,
        delta=delta,
        rho=0.0,
        not_protected=(),
        noise=wording.WITHOUT_NOISE,
        ledger_head=ledger_head,
        software_version=version("keychorus"),
    )


def _not_checked(shares: Shares) -> str:
    return wording.NOT_CHECKED_SHARES.format(
        num_shares=shares.num_shares,
        least_reports=shares.least_reports,
        adversaries=shares.adversary_fraction,
        dropouts=shares.dropout_fraction,
    )


def finite_or_none(value: float) -> float | None:
    """Maps infinity, which JSON does not have, to None: no guarantee."""
    return value if math.isfinite(value) else None
