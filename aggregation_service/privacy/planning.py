"""How much noise a deployment needs with each mechanism, and what it does to the weights: asked before any training.

Nothing is told more favourably than the ledger will tell it: a plan's noise is that with which the events of all its
rounds, rounding included, stay within epsilon for a device that takes part as often as it can.
"""

import math
from decimal import ROUND_CEILING, Context, Decimal
from typing import Literal, NamedTuple, get_args

import msgspec

from aggregation_service.privacy.accountants import noise_multiplier_for
from aggregation_service.privacy.accounting import PrivacySpent, spent_on_charges
from aggregation_service.privacy.charges import Charge
from aggregation_service.privacy.grid_noise import finest_grid, one_report_bound
from aggregation_service.privacy.mechanisms.optimise import optimised_banded, optimised_buffered, optimised_tree
from aggregation_service.privacy.mechanisms.parameters import (
    BandedToeplitz,
    BufferedToeplitz,
    Independent,
    Mechanism,
    Tree,
)
from aggregation_service.privacy.mechanisms.prefix_error import prefix_variances
from aggregation_service.privacy.mechanisms.sensitivity import most_participations, sensitivity
from aggregation_service.privacy.mechanisms.toeplitz import FloatArray
from aggregation_service.privacy.sum_noise import SumNoise

MechanismKind = Literal["independent", "tree", "banded", "buffered"]
MECHANISM_KINDS: tuple[MechanismKind, ...] = get_args(MechanismKind)
DEFAULT_BUFFERS, DEFAULT_BANDS = 3, 32
MOST_NOISE = 10_000.0
"""The largest noise multiplier that a plan may have (`protocol.plan.PrivacyParameters`)."""

_DIGITS = Context(prec=5, rounding=ROUND_CEILING)  # what is printed is what was accounted for
_REPORTS_AT_MOST = 1.3  # of the cohort, by the usual over-selection: how many reports rounding is bounded for


class Schedule(NamedTuple):
    """Which rounds one device may be in: `rounds` in all, at most `max_participations`, `min_separation` apart."""

    rounds: int
    min_separation: int
    max_participations: int


class Choices(NamedTuple):
    """What a mechanism may keep in memory; `restart_every` None for the best of all powers of two."""

    buffers: int = DEFAULT_BUFFERS
    bands: int = DEFAULT_BANDS
    restart_every: int | None = None


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned for.

    Attributes:
      devices: in the population.
      cohort: reports in a round's sum, which is divided by this.
      rounds: of training.
      separation_rounds: b: two rounds of one device are t and t + b or later.
      participation_limit: of one device; 0 for what the separation leaves room for.
      epsilon: which all rounds together shall not exceed.
      delta: at which epsilon is told.
      l2_clip_norm: of an update, in units of weight change.
      num_weights: of the model: rounding adds a little to each.

    Raises:
      ValueError: a parameter out of its bound, or too few devices for such a separation.

    """

    devices: int
    cohort: int
    rounds: int
    separation_rounds: int
    participation_limit: int = 0
    epsilon: float
    delta: float
    l2_clip_norm: float = 1.0
    num_weights: int = 1_400_000

    def __post_init__(self) -> None:
        if not 1 <= self.cohort <= self.devices:
            raise ValueError(f"cohort must be between 1 and the {self.devices} devices, got {self.cohort}")
        most = self.devices // self.cohort
        if not 1 <= self.separation_rounds <= most:
            raise ValueError(
                f"separation_rounds must be between 1 and devices / cohort, {most}, got {self.separation_rounds}: "
                "devices that stay away longer are too few to fill the rounds"
            )
        if self.participation_limit < 0:
            raise ValueError(f"participation_limit must be >= 0, got {self.participation_limit}")
        if not (self.l2_clip_norm > 0 and math.isfinite(self.l2_clip_norm)):
            raise ValueError(f"l2_clip_norm must be a finite number > 0, got {self.l2_clip_norm}")
        if self.num_weights < 1:
            raise ValueError(f"num_weights must be >= 1, got {self.num_weights}")
        _ = self.participations, noise_multiplier_for(self.epsilon, self.delta)  # which check the others

    @property
    def participations(self) -> int:
        """How often one device can take part."""
        limit = self.participation_limit or self.rounds
        return most_participations(rounds=self.rounds, min_separation=self.separation_rounds, max_participations=limit)

    @property
    def schedule(self) -> Schedule:
        """Which rounds one device may be in."""
        return Schedule(self.rounds, self.separation_rounds, self.participations)


class NoisePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one mechanism needs, and what it does.

    Attributes:
      mechanism: with its parameters.
      vectors_kept: float64 vectors of the model's size that its stream keeps.
      sensitivity: how far one device moves the whole stream, in units of one report's norm.
      noise_multiplier: z for the plan: the deviation of one draw of noise, in units of the clipping norm.
      epsilon: what the ledger tells after the last round.
      rms_error: deviation that noise gives a weight, root mean square over all rounds' models.
      largest_error: the same of the model where it is largest.

    """

    mechanism: Mechanism
    vectors_kept: int
    sensitivity: float
    noise_multiplier: float
    epsilon: float
    rms_error: float
    largest_error: float


def choose_mechanism(kind: MechanismKind, schedule: Schedule, choices: Choices) -> Mechanism:
    """Finds the parameters of least root mean square error.

    Args:
      kind: of mechanism.
      schedule: what it is for; more bands than it has rounds are left out.
      choices: what it may keep.

    Raises:
      ValueError: a parameter out of its bound.

    """
    pattern = schedule._asdict()
    match kind:
        case "independent":
            return Independent()
        case "tree":
            return optimised_tree(**pattern) if choices.restart_every is None else Tree(choices.restart_every)
        case "banded":
            return optimised_banded(min(choices.bands, schedule.rounds), **pattern)
        case "buffered":
            return optimised_buffered(choices.buffers, **pattern)


def plan_noise(mechanism: Mechanism, deployment: Deployment) -> NoisePlan:
    """Finds the least noise that keeps to the deployment's epsilon, to five digits, and what it does to the weights.

    Guarantees:
      `noise_multiplier` has five significant digits, rounded up; the epsilon that the ledger tells, at any time within
      the planned rounds, is `epsilon` at most, which is at most the deployment's.

    Raises:
      ValueError: more noise were needed than a plan may have, or than any grid is fine enough for.

    Source: McMahan, Xu, Zhang 2024, arXiv 2408.08868, section 2, for the error; noise as `accountants` has it.

    """
    moved = sensitivity(mechanism, **deployment.schedule._asdict())
    target = noise_multiplier_for(deployment.epsilon, deployment.delta)
    multiplier = rounded_up(target * moved)
    while (spent := spent_with(mechanism, multiplier, deployment)).epsilon > deployment.epsilon:
        lacking = target * math.sqrt(2 * spent.rho)  # rho is 1 / (2 multiplier^2) of the whole
        multiplier = rounded_up(math.nextafter(multiplier * max(lacking, 1.0), math.inf))
    errors = error_by_round(mechanism, multiplier, deployment)
    return NoisePlan(
        mechanism=mechanism,
        vectors_kept=vectors_kept(mechanism),
        sensitivity=moved,
        noise_multiplier=multiplier,
        epsilon=spent.epsilon,
        rms_error=math.sqrt(float((errors * errors).mean())),
        largest_error=float(errors.max()),
    )


def error_by_round(mechanism: Mechanism, noise_multiplier: float, deployment: Deployment) -> FloatArray:
    """The deviation that noise gives each weight after each round, float64 [rounds], in units of weight change.

    For a server that adds the average update to the weights: with a learning rate it is multiplied by that.
    """
    deviation = noise_multiplier * deployment.l2_clip_norm / deployment.cohort
    errors: FloatArray = deviation * prefix_variances(mechanism, deployment.rounds) ** 0.5
    return errors


def vectors_kept(mechanism: Mechanism) -> int:
    """How many vectors of the model's size a stream keeps between two rounds."""
    match mechanism:
        case Independent():
            return 0
        case Tree():
            return mechanism.height
        case BandedToeplitz():
            return len(mechanism.coefficients) - 1
        case BufferedToeplitz():
            return len(mechanism.decays)


def require_possible(noise_multiplier: float, deployment: Deployment) -> None:
    """Raises `ValueError` if that is more noise than a plan may have."""
    if noise_multiplier > MOST_NOISE:
        raise ValueError(
            f"epsilon {deployment.epsilon:g} at delta {deployment.delta:g} needs a noise_multiplier above "
            f"{MOST_NOISE:g}, the most that a plan may have"
        )


def spent_with(mechanism: Mechanism, noise_multiplier: float, deployment: Deployment) -> PrivacySpent:
    """What the ledger tells after the last round, if the noise is that; the deployment's epsilon plays no part.

    Raises:
      ValueError: more noise than a plan may have, or than any grid is fine enough for.

    """
    require_possible(noise_multiplier, deployment)
    clip_norm, size = deployment.l2_clip_norm, deployment.num_weights
    grid = finest_grid(noise_multiplier * clip_norm)
    reports = math.ceil(_REPORTS_AT_MOST * deployment.cohort)
    bound = one_report_bound(grid, l2_clip_norm=clip_norm, size=size, max_reports=reports)
    noise = SumNoise(grid=grid, size=size, one_report=bound)
    if isinstance(mechanism, Independent):
        charge = Charge(noise.noise_multiplier, deployment.participations)
    else:
        moved = sensitivity(mechanism, **deployment.schedule._asdict())
        charge = Charge(noise.in_stream(mechanism, deployment.rounds)[0] / moved, 1)
    return spent_on_charges([charge], deployment.delta)


def rounded_up(value: float) -> float:
    """To five significant digits, never down."""
    return float(_DIGITS.create_decimal(Decimal(value)))
