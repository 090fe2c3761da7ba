"""The plots of a fleet's page; colours are those of the page's lines."""

from collections.abc import Callable, Iterator

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.fleet.outcome import FleetPopulation, FleetReport, FleetRound
from evaluation.plots import COLOURS, draw_svg

_MOST_LINES = 8


def draw_fleet(report: FleetReport) -> dict[str, str]:
    """All plots of a report: SVG elements by name, the same for the same report."""
    drawings: dict[str, tuple[Callable[[Axes], None], tuple[float, float]]] = {
        "recall": (lambda axes: _recall(axes, report), (8.4, 3.2)),
        "rounds": (lambda axes: _durations(axes, report), (8.4, 2.8)),
        "live": (lambda axes: _live(axes, report), (4.6, 3.0)),
        "epsilon": (lambda axes: _epsilon(axes, report), (4.6, 3.0)),
        "dropouts": (lambda axes: _drop_outs(axes, report), (8.4, 0.25 + 0.4 * max(1, len(report.drop_outs)))),
    }
    return {name: draw_svg(name, draw, size) for name, (draw, size) in drawings.items()}


def _by_population(report: FleetReport) -> Iterator[tuple[FleetPopulation, str, list[FleetRound]]]:
    """Each population, the colour that the page's key gives it, and its rounds, of which there may be none."""
    for number, population in enumerate(report.populations[:_MOST_LINES], start=1):
        rounds = [each for each in report.rounds if each.population == population.name]
        yield population, COLOURS[f"line-{number}"], rounds


def _days(axes: Axes, report: FleetReport) -> None:
    axes.set_xlim(0, report.days or 1)  # an empty axis cannot be drawn
    axes.set_xlabel("day")


def _ended(each: FleetRound) -> float:
    """The day on which a round ended; of one that is open still, on which it began."""
    return (each.opened_h + (each.duration_h or 0.0)) / 24


def _recall(axes: Axes, report: FleetReport) -> None:
    for population, colour, rounds in _by_population(report):
        before = population.top1_before
        measured = [(_ended(each), each.top1) for each in rounds if each.top1 is not None]
        axes.axhline(before, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot(*zip((0.0, before), *measured, strict=True), "o-", color=colour, linewidth=2, markersize=3)
    _days(axes, report)
    axes.yaxis.set_major_formatter(PercentFormatter(1))  # with as many decimals as tell ticks apart


def _durations(axes: Axes, report: FleetReport) -> None:
    """How long rounds lasted, by when they began: full marks closed, hollow ones were abandoned."""
    for _, colour, rounds in _by_population(report):
        for is_closed, filled in ((True, colour), (False, "none")):
            chosen = [each for each in rounds if each.duration_h is not None and (each.phase == "closed") is is_closed]
            places, heights = [each.opened_h / 24 for each in chosen], [each.duration_h or 0.0 for each in chosen]
            axes.scatter(places, heights, s=26, edgecolors=colour, facecolors=filled)
    _days(axes, report)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("hours")


def _live(axes: Axes, report: FleetReport) -> None:
    lines = {"accepted_share": "line-1", "saved_share": "line-2"}
    for field, colour in lines.items():
        points = [(each.day, getattr(each, field)) for each in report.live if getattr(each, field) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[colour], linewidth=2, markersize=4)
    if not axes.has_data():
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no word was followed", ha="center", va="center")
        return
    axes.set_ylim(bottom=0)
    axes.set_xlabel("day")
    days = [each.day for each in report.live]
    axes.set_xlim(min(days) - 0.3, max(days) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _epsilon(axes: Axes, report: FleetReport) -> None:
    for _, colour, rounds in _by_population(report):
        spent = [(_ended(each), each.epsilon) for each in rounds if each.epsilon is not None]
        if spent:
            spent.append((report.days, spent[-1][1]))  # it stays spent
            axes.plot(*zip(*spent, strict=True), color=colour, linewidth=2, drawstyle="steps-post")
    if axes.has_data():
        _days(axes, report)
        axes.set_ylim(bottom=0)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no round with a guarantee", ha="center", va="center")


def _drop_outs(axes: Axes, report: FleetReport) -> None:
    names = [f"{each.phase}: {each.because}" for each in report.drop_outs] or ["nobody"]
    counts = [each.devices for each in report.drop_outs] or [0]
    bars = axes.barh(names, counts, color=COLOURS["line-5"], height=0.6)
    axes.bar_label(bars, padding=4, fontsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.margins(x=0.12)
