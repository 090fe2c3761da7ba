"""The privacy statement: what a release may honestly say about itself, for people and for programs.

Its unit is zero-out adjacency, as in `accounting`: one device's updates, in all rounds, replaced by zero.
"""

import math
from collections.abc import Sequence

import msgspec

from aggregation_service.privacy.accounting import most_participations, privacy_spent, spent_on_worst_device
from aggregation_service.privacy.ledger import GaussianSumReleased, LedgerEvent

NOT_PROTECTED = (
    "each single update from the service, which holds it in memory while adding it to the sum",
    "whether a device took part at all: zero-out protects what it contributed, not that it was there",
    "that a device took part, and when, from the service and its network",
    "a cohort from invented devices: an enrolment token limits how many there are, not who made them up with it",
    "a device that comes back under a new id: ids are the devices' own, so its epsilon is above what is stated",
    "a device in several populations: each states its own epsilon, and what they learnt of the device adds up",
    "how many devices were selected and how many reported in each round",
    "how many updates were shortened to the clipping norm in each round: operators see that number without noise",
    "what many devices have in common: words that many people type can be learnt",
    "the exact bits of the noise (floating-point attack of Mironov 2012)",
)


GAUSSIAN = "independent Gaussian"
PLAIN_UPLOAD = "central noise, plain upload: the service sees each update in memory and must be trusted for the noise"
SECURE_AGGREGATION = (
    "central noise, secure aggregation: nobody sees a single update unless service and a threshold of devices collude; "
    "the service sees the sums of groups, and must be trusted for the noise"
)

NOT_PROTECTED_IN_GROUPS = (
    "the sum of each group of devices from the service, which adds the noise",
    "each single update from a service that fills a group with devices of its own: it enrols them",
)
"""In place of the first of `NOT_PROTECTED`, where every update came through secure aggregation."""

NOT_PROTECTED_WHERE_KEPT = (
    "each single update from the service, which keeps it, sealed, until its round closes, for the {rule}",
    "single numbers of updates: where the {rule} leaves one value of a weight, it is one device's own",
)
"""In place of the first of `NOT_PROTECTED`, where rounds combined plain updates by a rule that needs each of them."""

NOT_CHECKED = (
    "that the files were made from the model version that the release names: the service cannot look into them",
)


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


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the noise protects, how well, and what it does not protect; None (null in JSON) means no guarantee."""

    unit: str = "one device's whole log (zero-out: all of one device's updates replaced by zero)"
    trust_mode: str = PLAIN_UPLOAD
    mechanism: str = GAUSSIAN
    noise_multiplier: float
    l2_clip_norm: float
    minimum_separation_s: float
    report_goal: int
    cohort_sizes: tuple[int, ...]
    max_participations: int
    epsilon: float | None
    delta: float
    rho: float | None
    not_protected: tuple[str, ...] = NOT_PROTECTED
    not_checked: tuple[str, ...] = NOT_CHECKED

    def at_scale(self, *, cohort: int, population: int, rounds: int, delta: float) -> Scale:
        """Says what the same noise on the average would give in a larger deployment.

        The noise's standard deviation on the average is z·C / report_goal. A cohort of m devices with that same
        deviation has m / report_goal times the noise on its sum: that is the factor by which z grows. A device that
        took part stays away until the others had their turn, so it takes part once in population / cohort rounds.

        Raises:
          ValueError: not 1 <= cohort <= population, or rounds < 1, or nothing was trained, so that there is no noise.

        """
        if self.report_goal < 1:
            raise ValueError(f"report_goal must be >= 1, got {self.report_goal}: nothing was trained")
        if not 1 <= cohort <= population:
            raise ValueError(f"cohort must be between 1 and the population of {population}, got {cohort}")
        if rounds < 1:
            raise ValueError(f"rounds must be >= 1, got {rounds}")
        participations = math.ceil(rounds / (population // cohort))
        noise_multiplier = self.noise_multiplier * cohort / self.report_goal
        spent = privacy_spent(noise_multiplier, participations, delta)
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


def make_statement(
    events: Sequence[LedgerEvent],
    *,
    report_goal: int,
    minimum_separation_s: float,
    delta: float,
    robust_rules: Sequence[str] = (),
) -> PrivacyStatement:
    """Writes the statement of everything that the ledger holds of one population.

    Where rounds differed, the smallest noise multiplier and the largest clipping norm are stated. Releases that were
    lost with a backup are charged to every device; how many took part in them is not known. The trust mode is that of
    secure aggregation if every release was. `robust_rules` names those by which rounds combined updates, keeping each.

    Raises:
      ValueError: the ledger is empty, so that there is nothing to state.

    """
    if not events:
        raise ValueError("a privacy statement needs at least one ledger event, got none")
    spent = spent_on_worst_device(events, delta)
    is_secure = all(isinstance(event, GaussianSumReleased) and event.secure_aggregation for event in events)
    return PrivacyStatement(
        trust_mode=SECURE_AGGREGATION if is_secure else PLAIN_UPLOAD,
        mechanism=_mechanism(robust_rules),
        not_protected=_not_protected(robust_rules, is_secure=is_secure),
        noise_multiplier=min(event.noise_multiplier for event in events),
        l2_clip_norm=max(event.l2_clip_norm for event in events),
        minimum_separation_s=minimum_separation_s,
        report_goal=report_goal,
        cohort_sizes=tuple(event.num_reports for event in events if isinstance(event, GaussianSumReleased)),
        max_participations=most_participations(events),
        epsilon=finite_or_none(spent.epsilon),
        delta=delta,
        rho=finite_or_none(spent.rho),
    )


def untrained_statement(delta: float) -> PrivacyStatement:
    """States that nothing of a release was computed from device data: the weights it began with, and no more."""
    return PrivacyStatement(
        mechanism="none: nothing was computed from device data",
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
    )


def _mechanism(robust_rules: Sequence[str]) -> str:
    if not robust_rules:
        return GAUSSIAN
    return f"{GAUSSIAN}, and none where the service took the {' or the '.join(robust_rules)} of updates"


def _not_protected(robust_rules: Sequence[str], *, is_secure: bool) -> tuple[str, ...]:
    kept = tuple(sentence.format(rule=rule) for rule in robust_rules for sentence in NOT_PROTECTED_WHERE_KEPT)
    if is_secure:
        return (*kept, *NOT_PROTECTED_IN_GROUPS, *NOT_PROTECTED[1:])
    return (*(kept or NOT_PROTECTED[:1]), *NOT_PROTECTED[1:])


def finite_or_none(value: float) -> float | None:
    """Maps infinity, which JSON does not have, to None: no guarantee."""
    return value if math.isfinite(value) else None
