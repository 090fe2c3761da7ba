"""The plots of an evaluation's page: a line for each predictor, in the page's colours."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.evaluate.outcome import Measured, PopulationFound, RoundFound, Slice
from evaluation.evaluate.summing_up import PERCENTILES
from evaluation.plots import COLOURS, draw_svg

NUM_COLOURS = 8
_DASHES: Sequence[str | tuple[int, tuple[int, ...]]] = ("-", (0, (5, 2)), (0, (1, 1)))
_WIDE, _HALF = (8.4, 3.2), (4.6, 3.4)


def colour_of(number: int) -> str:
    """The name of a predictor's colour by its number, from 0; after the last colour the first comes again, dashed."""
    return f"line-{number % NUM_COLOURS + 1}"


def draw_population(found: PopulationFound) -> dict[str, str]:
    """The plots of one population: SVG elements by name. Those that would show nothing are left out."""
    predictors = found.predictors
    drawings: dict[str, tuple[Callable[[Axes], None], tuple[float, float]]] = {
        "intervals": (lambda axes: _intervals(axes, predictors), (8.4, 0.8 + 0.34 * len(predictors))),
        "percentiles": (lambda axes: _percentiles(axes, predictors), _HALF),
        "letters": (lambda axes: _letters(axes, predictors), _HALF),
        "lengths": (lambda axes: _lengths(axes, predictors), _HALF),
    }
    if any(each.calibration for each in predictors):
        drawings["calibration"] = (lambda axes: _calibration(axes, predictors), _HALF)
    return {name: draw_svg(f"{found.name}-{name}", draw, size) for name, (draw, size) in drawings.items()}


def draw_rounds(rounds: Sequence[RoundFound]) -> str:
    """Recall by round with its interval, as an SVG element."""

    def draw(axes: Axes) -> None:
        numbers = [each.number for each in rounds]
        for number, measure in enumerate(("top1", "top3")):
            intervals = [getattr(each, measure) for each in rounds]
            colour = COLOURS[colour_of(number)]
            low, high = ([getattr(each, side) for each in intervals] for side in ("low", "high"))
            axes.fill_between(numbers, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(numbers, [each.value for each in intervals], "o-", color=colour, linewidth=2, markersize=3)
        axes.set_xlabel("round")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _percent(axes)

    return draw_svg("rounds", draw, _WIDE)


def _intervals(axes: Axes, predictors: Sequence[Measured]) -> None:
    """Top-1 recall and its interval, one above the other."""
    for number, each in enumerate(predictors):
        top1, colour = each.measures["top1"], COLOURS[colour_of(number)]
        axes.plot((top1.low, top1.high), (number, number), color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(top1.value, number, "o", color=colour, markersize=8)
    axes.set_yticks(range(len(predictors)), [each.predictor for each in predictors])
    axes.set_ylim(len(predictors) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _percentiles(axes: Axes, predictors: Sequence[Measured]) -> None:
    _lines(axes, [(PERCENTILES, each.top1_by_percentile) for each in predictors])
    axes.set_xlabel("users, from the least to the best served, %")
    _percent(axes)


def _letters(axes: Axes, predictors: Sequence[Measured]) -> None:
    names = list(dict.fromkeys(each.name for measured in predictors for each in measured.savings_by_letters))
    _sliced(axes, names, [(each.savings_by_letters, "keystroke_savings") for each in predictors])
    axes.set_xlabel("letters of the word")
    _percent(axes)


def _lengths(axes: Axes, predictors: Sequence[Measured]) -> None:
    names = list(dict.fromkeys(each.name for measured in predictors for each in measured.by_message_length))
    _sliced(axes, names, [(each.by_message_length, "top1") for each in predictors])
    axes.set_xticks(
        range(len(names)), [name.removesuffix(" words").replace(" to ", "–").replace(" or more", "+") for name in names]
    )
    axes.set_xlabel("words of the message")
    axes.set_ylim(bottom=0)
    _percent(axes)


def _short(length: str) -> str:
    return length.removesuffix(" words").replace(" to ", "–").replace(" or more", "+")


def _sliced(axes: Axes, names: Sequence[str], lines: Sequence[tuple[Sequence[Slice], str]]) -> None:
    """A measure by slice; a predictor whose sample misses a slice has a gap there."""
    points = []
    for slices, measure in lines:
        by_name = {each.name: each.measures[measure].value for each in slices if measure in each.measures}
        points.append((range(len(names)), [by_name.get(name, float("nan")) for name in names]))
    _lines(axes, points, "o")
    axes.set_xticks(range(len(names)), names)


def _calibration(axes: Axes, predictors: Sequence[Measured]) -> None:
    axes.plot((0, 1), (0, 1), color=COLOURS["faint"], linewidth=1.4)
    lines = [
        ([bin_.confidence for bin_ in each.calibration or ()], [bin_.hits for bin_ in each.calibration or ()])
        for each in predictors
    ]
    _lines(axes, lines, "o")
    axes.set_xlabel("probability of the first suggestion")
    axes.set_ylabel("share that was right")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _percent(axes)


def _lines(axes: Axes, points: Sequence[tuple[Sequence[float], Sequence[float]]], marker: str = "") -> None:
    for number, (places, values) in enumerate(points):
        axes.plot(
            places,
            values,
            marker=marker,
            color=COLOURS[colour_of(number)],
            linestyle=_DASHES[number // NUM_COLOURS % len(_DASHES)],
            linewidth=2,
            markersize=3.5,
        )
    axes.margins(x=0.02)


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
