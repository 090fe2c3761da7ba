from dataclasses import replace

import pytest

from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.planning import Choices, Deployment, choose_mechanism, plan_noise
from evaluation.planning.assumptions import Assumptions
from evaluation.planning.privacy import spend

WEIGHTS = 1_422_250
INDEPENDENT = Assumptions(mechanism="independent")


@pytest.mark.parametrize("mechanism", ["independent", "tree"])
def test_noise_and_epsilon_are_those_of_the_services_own_plan(mechanism) -> None:
    found = spend(Assumptions(mechanism=mechanism), WEIGHTS)
    deployment = Deployment(
        devices=10_000_000,
        cohort=6500,
        rounds=2000,
        separation_rounds=342,
        epsilon=2.0,
        delta=1e-10,
        num_weights=WEIGHTS,
    )
    planned = plan_noise(choose_mechanism(mechanism, deployment.schedule, Choices()), deployment)
    assert (found.noise_multiplier, found.epsilon) == (planned.noise_multiplier, planned.epsilon)
    assert found.rms_error == pytest.approx(planned.rms_error)
    assert found.epsilon <= 2.0
    assert found.participations == 6


def test_the_epsilon_of_a_given_noise_is_that_of_its_participations() -> None:
    found = spend(replace(INDEPENDENT, noise_multiplier=7.0), WEIGHTS)
    ideal = privacy_spent(7.0, 6, 1e-10)
    assert found.noise_multiplier == 7.0
    assert found.epsilon == pytest.approx(ideal.epsilon, rel=1e-4)
    assert found.epsilon >= ideal.epsilon  # rounding to the grid is in it
    assert found.rho == pytest.approx(6 / (2 * 49), rel=1e-4)


def test_the_wanted_epsilon_does_not_matter_where_noise_is_given() -> None:
    given = replace(INDEPENDENT, noise_multiplier=7.0)
    assert spend(given, WEIGHTS) == spend(replace(given, epsilon=8.0), WEIGHTS)
