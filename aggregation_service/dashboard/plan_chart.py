"""The chart of a noise plan: an SVG file of its own, with its colours in it and no script."""

import math
from collections.abc import Mapping

from aggregation_service.dashboard.drawing import Line, Style, etree
from aggregation_service.privacy.planning import Deployment, NoisePlan, error_by_round

_POINTS = 200
_LABELS = 5


def draw_plans(deployment: Deployment, plans: Mapping[str, NoisePlan]) -> str:
    """Draws how far noise moves a weight after each round, a line for each mechanism.

    Args:
      deployment: planned for.
      plans: by the name that the legend has.

    Returns:
      An SVG document.

    """
    chart = Line(
        title=f"Noise in each weight by round, ε {deployment.epsilon:g} at δ {deployment.delta:g}",
        x_title="round",
        y_title="standard deviation, logarithmic",
        js=(),
        style=Style(background="white", plot_background="white"),
        width=900,
        height=500,
        logarithmic=True,
        show_dots=deployment.rounds == 1,  # of which there is no line
        legend_at_bottom=True,
        show_minor_x_labels=False,
        truncate_label=-1,
        value_formatter=lambda value: f"{value:.3g}",
    )
    rounds = _sample(deployment.rounds, _POINTS)
    chart.x_labels = [str(number) for number in rounds]
    chart.x_labels_major = [str(rounds[place]) for place in _sample_places(len(rounds), _LABELS)]
    for name, plan in plans.items():
        errors = error_by_round(plan.mechanism, plan.noise_multiplier, deployment)
        chart.add(name, [float(errors[number - 1]) for number in rounds])
    root = chart.render_tree()
    for parent in list(root.iter()):
        for script in parent.findall("script"):
            parent.remove(script)
    drawn: str = etree.tostring(root, encoding="unicode")  # which escapes names
    return drawn


def _sample(count: int, most: int) -> list[int]:
    """Up to `most` + 1 numbers from 1 to `count`, evenly, both ends among them."""
    step = math.ceil(count / most)
    return [*range(1, count, step), count]


def _sample_places(count: int, most: int) -> list[int]:
    return [number - 1 for number in _sample(count, most)]
