"""The plots of an audit's page; colours are those of the page's lines."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from evaluation.audit.membership import BIN_WIDTH, Histogram, MembershipArm
from evaluation.audit.reconstruction import Recovered
from evaluation.audit.secret_sharer import SecretSharerArm
from evaluation.plots import COLOURS, draw_svg

INSIDE, OUTSIDE = "line-1", "line-5"


def draw_words(views: Sequence[Recovered]) -> str:
    """Precision and recall of the named words by view, and the precision of a guess as a mark."""

    def draw(axes: Axes) -> None:
        places = range(len(views))
        for offset, field, colour in ((-0.19, "precision", "line-1"), (0.19, "recall", "line-2")):
            heights = [getattr(view, field) for view in views]
            axes.barh([place + offset for place in places], heights, height=0.34, color=COLOURS[colour])
        guesses = [view.precision_of_guess for view in views]
        axes.plot(guesses, [place - 0.19 for place in places], "|", color=COLOURS["ink"], markersize=13)
        axes.set_yticks(places, [view.view for view in views])
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    return draw_svg("words", draw, (8.4, 0.9 + 0.52 * len(views)))


def draw_exposures(arms: Sequence[SecretSharerArm]) -> str:
    """Mean exposure by kind of phrase, a line for each of at most five models."""

    def draw(axes: Axes) -> None:
        kinds = [f"{each.devices}×{each.copies}" for each in arms[0].exposures]
        for number, arm in enumerate(arms, start=1):
            means = [each.mean for each in arm.exposures]
            axes.plot(kinds, means, "o-", color=COLOURS[f"line-{number}"], linewidth=2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("devices × copies on each")
        axes.set_ylabel("exposure, bits")

    return draw_svg("exposures", draw, (8.4, 3.0))


def draw_canaries(number: int, arm: MembershipArm) -> str:
    """Histograms of canaries that took part and of those that did not, for each adversary."""
    found = {each.sees: (each.inside, each.outside) for each in arm.found}
    return draw_svg(f"canaries-{number}", _histograms(found), (8.4, 1.0 + 1.2 * len(found)))


def _histograms(found: dict[str, tuple[Histogram, Histogram]]) -> Callable[[Axes], None]:
    """One adversary above the other, on one axis of deviations."""

    def draw(axes: Axes) -> None:
        highest = max(max(each.counts) for pair in found.values() for each in pair)
        for row, pair in enumerate(found.values()):
            floor = float(len(found) - 1 - row)
            for histogram, colour in zip(pair, (INSIDE, OUTSIDE), strict=True):
                edges = [(histogram.first + place) * BIN_WIDTH for place in range(len(histogram.counts) + 1)]
                heights = [floor + 0.85 * count / highest for count in histogram.counts]
                axes.stairs(heights, edges, baseline=floor, fill=True, alpha=0.55, color=COLOURS[colour])
        axes.set_yticks([len(found) - 1 - row for row in range(len(found))], list(found), va="bottom")
        axes.set_xlabel("standard deviations of a canary that took no part")

    return draw
