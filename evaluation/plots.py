"""Plots for reports, as SVG that takes its colours and its font from the page, and so follows its dark mode."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.report_schema import ByPredictor, Report, Round

# Matplotlib needs colours; each of these is replaced by the style sheet's variable of that name.
COLOURS = {"ink": "#010101", "faint": "#020202", "unigram": "#030303", "pretrained": "#040404", "federated": "#050505"}
COLOURS |= {f"line-{number}": f"#0600{number:02}" for number in range(1, 9)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": COLOURS["faint"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
PREDICTORS = {"unigram": "Word list", "pretrained": "Pre-trained", "federated": "Federated"}
_METRICS = {"top1": "First suggestion", "top3": "Three suggestions", "keystroke_savings": "Keystrokes saved"}


def draw_all(report: Report) -> dict[str, str]:
    """All plots of a report: SVG elements by name, the same for the same report."""
    drawings: dict[str, Callable[[Axes], None]] = {
        "recall": lambda axes: _recall(axes, report),
        "predictors_held_out": lambda axes: _predictors(axes, report.accuracy.held_out),
        "predictors_devices": lambda axes: _predictors(axes, report.accuracy.devices),
        "epsilon": lambda axes: _epsilon(axes, report.rounds),
        "reports": lambda axes: _reports(axes, report.rounds),
        "seconds": lambda axes: _seconds(axes, report.seconds),
    }
    sizes = {"recall": (8.4, 3.6), "seconds": (8.4, 0.7 + 0.34 * len(report.seconds))}
    return {name: draw_svg(name, draw, sizes.get(name, (4.6, 3.0))) for name, draw in drawings.items()}


def draw_lines(name: str, lines: Mapping[str, Sequence[float]], before: float) -> str:
    """Shares by round as an SVG element: one line for each of at most five names, all from `before` on.

    The page gives the colours `--line-1` to `--line-5`, in the order of the lines.
    """

    def draw(axes: Axes) -> None:
        axes.axhline(before, color=COLOURS["pretrained"], linewidth=1.4, linestyle=(0, (4, 3)))
        for number, (label, shares) in enumerate(lines.items(), start=1):
            places = range(len(shares) + 1)
            axes.plot(places, [before, *shares], color=COLOURS[f"line-{number}"], linewidth=2, label=label)
        axes.margins(x=0.01)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))

    return draw_svg(name, draw, (8.4, 3.0))


def draw_svg(name: str, draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    """What `draw` draws, as an SVG element of `size` inches whose ids begin with `name`."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size)
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """Turns a whole SVG file into an element among others: own ids, the page's font and colours, no outside names."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--font)", svg)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', rf'<svg \1 class="plot {name}" aria-hidden="true">', svg)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _recall(axes: Axes, report: Report) -> None:
    """Top-1 recall by round, with what a keyboard could do without this training as lines."""
    before = report.curve
    measured = [(row.number, row.top1) for row in report.rounds if row.top1 is not None]
    points = [(0, before.pretrained_top1), *measured]
    for name, top1 in (("unigram", before.unigram_top1), ("pretrained", before.pretrained_top1)):
        axes.axhline(top1, color=COLOURS[name], linewidth=1.4, linestyle=(0, (4, 3)), label=PREDICTORS[name])
    axes.plot(*zip(*points, strict=True), color=COLOURS["federated"], linewidth=2.4, label=PREDICTORS["federated"])
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="lower right", ncols=3)


def _predictors(axes: Axes, accuracies: ByPredictor) -> None:
    width = 0.27
    for offset, (name, label) in enumerate(PREDICTORS.items()):
        values = [getattr(getattr(accuracies, name), metric) for metric in _METRICS]
        places = [place + (offset - 1) * width for place in range(len(_METRICS))]
        bars = axes.bar(places, values, width=width * 0.9, color=COLOURS[name], label=label)
        axes.bar_label(bars, [f"{100 * value:.0f}" for value in values], padding=2, fontsize=9)
    axes.set_xticks(range(len(_METRICS)), [label.replace(" ", "\n") for label in _METRICS.values()])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(y=0.12)


def _epsilon(axes: Axes, rounds: Sequence[Round]) -> None:
    spent = [(row.number, row.epsilon) for row in rounds if row.epsilon is not None]
    if spent:
        axes.plot(*zip(*spent, strict=True), color=COLOURS["federated"], linewidth=2.2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no noise, no guarantee", ha="center", va="center")


def _reports(axes: Axes, rounds: Sequence[Round]) -> None:
    """Devices by round: those that reported, and on top of them those that did not."""
    numbers = [row.number for row in rounds]
    bottom = [0] * len(rounds)
    parts = {"reported": "federated", "interrupted": "pretrained", "dropped": "unigram"}
    for field, colour in parts.items():
        values = [getattr(row, field) for row in rounds]
        axes.bar(numbers, values, bottom=bottom, width=0.8, color=COLOURS[colour], label=field)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1.25 * max([1, *bottom]))  # room for the legend
    axes.legend(loc="upper center", ncols=3, fontsize=9, handlelength=1, columnspacing=1)


def _seconds(axes: Axes, seconds: dict[str, float]) -> None:
    phases = list(seconds)
    bars = axes.barh(phases, [seconds[phase] for phase in phases], color=COLOURS["unigram"], height=0.62)
    axes.bar_label(bars, [f"{value:.1f} s" for value in seconds.values()], padding=4, fontsize=10)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.margins(x=0.12)
