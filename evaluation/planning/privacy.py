"""What a plan costs in privacy, as `aggregation_service.privacy` tells it: nothing is computed here."""

from dataclasses import dataclass

from aggregation_service.privacy.planning import (
    Choices,
    Deployment,
    choose_mechanism,
    error_by_round,
    plan_noise,
    spent_with,
)
from evaluation.planning.assumptions import Assumptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Privacy:
    """What all rounds together cost the device that takes part most often.

    Attributes:
      noise_multiplier: of the plan.
      epsilon: at the plan's delta.
      rho: the same in zero-concentrated differential privacy.
      participations: of that device.
      rms_error: deviation that noise gives a weight, over all rounds' models, at clipping norm 1.

    """

    noise_multiplier: float
    epsilon: float
    rho: float
    participations: int
    rms_error: float


def spend(given: Assumptions, num_weights: int) -> Privacy:
    """Finds the noise for the epsilon that is wanted, or the epsilon of the noise that is given.

    Raises:
      ValueError: more noise is needed than a plan may have, or a number out of the bounds of `Deployment`.

    """
    deployment = Deployment(
        devices=given.devices,
        cohort=given.report_goal,
        rounds=given.rounds,
        separation_rounds=given.separation_rounds,
        epsilon=given.epsilon,
        delta=given.delta,
        num_weights=num_weights,
    )
    mechanism = choose_mechanism(given.mechanism, deployment.schedule, Choices())
    multiplier = given.noise_multiplier or plan_noise(mechanism, deployment).noise_multiplier
    spent = spent_with(mechanism, multiplier, deployment)
    errors = error_by_round(mechanism, multiplier, deployment)
    return Privacy(
        noise_multiplier=multiplier,
        epsilon=spent.epsilon,
        rho=spent.rho,
        participations=deployment.participations,
        rms_error=float((errors * errors).mean() ** 0.5),
    )
