"""The plots of a soak's page; colours are those of the page's lines."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from evaluation.plots import COLOURS, draw_svg
from evaluation.soak.outcome import SoakReport


def draw_soak(report: SoakReport) -> dict[str, str]:
    """All plots of a report: SVG elements by name, the same for the same report."""
    kinds = {**report.faults, **{f"{who} killed": times for who, times in report.kills.items()}}
    return {
        "memory": draw_svg("memory", lambda axes: _memory(axes, report), (8.4, 3.2)),
        "faults": draw_svg("faults", lambda axes: _bars(axes, kinds), (8.4, 0.9 + 0.36 * max(1, len(kinds)))),
    }


def _memory(axes: Axes, report: SoakReport) -> None:
    roles = list(dict.fromkeys(sample.role for sample in report.memory))
    for number, role in enumerate(roles, start=1):
        points = [(each.rounds_ended, each.megabytes) for each in report.memory if each.role == role]
        axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[f"line-{number}"], linewidth=2, markersize=3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rounds ended")
    axes.set_ylabel("MB")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _bars(axes: Axes, counts: Mapping[str, int]) -> None:
    shown = counts or {"none": 0}
    bars = axes.barh(list(shown), list(shown.values()), color=COLOURS["line-5"], height=0.6)
    axes.bar_label(bars, padding=4, fontsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.margins(x=0.12)
