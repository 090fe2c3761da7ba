"""The chart of a noise plan: every mechanism has a line, whose ends are those of the plan."""

import xml.etree.ElementTree as ET

import pytest

from aggregation_service.dashboard.plan_chart import draw_plans
from aggregation_service.privacy.mechanisms.parameters import Independent, Tree
from aggregation_service.privacy.planning import Deployment, plan_noise


@pytest.mark.parametrize("rounds", [1, 2, 199, 200, 201, 2_000])
def test_it_draws_from_the_first_round_to_the_last(rounds: int) -> None:
    deployment = Deployment(devices=100, cohort=10, rounds=rounds, separation_rounds=5, epsilon=1.0, delta=1e-6)
    plans = {str(place): plan_noise(mechanism, deployment) for place, mechanism in enumerate((Independent(), Tree(4)))}
    root = ET.fromstring(draw_plans(deployment, plans))  # noqa: S314  # our own
    labels = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1", str(rounds)} <= set(labels)
    mark = "dot reactive" if rounds == 1 else "line reactive"
    assert sum(element.get("class", "").startswith(mark) for element in root.iter()) == len(plans)


def test_names_cannot_break_out_of_the_picture() -> None:
    deployment = Deployment(devices=100, cohort=10, rounds=9, separation_rounds=5, epsilon=1.0, delta=1e-6)
    drawn = draw_plans(deployment, {"<script>": plan_noise(Independent(), deployment)})
    ET.fromstring(drawn)  # noqa: S314  # our own
    assert "<script" not in drawn
