"""Charts as SVG that stands in the page: no script, no inline style, no font from elsewhere.

pygal draws; its script, style and tooltips are taken out again, so that the page's policy may forbid them all.
`static/charts.css` colours what is left, in light and in dark; a value is told by the `<title>` of its shape.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aggregation_service.dashboard.drawing import Bar, Line, StackedBar, Style, etree
from aggregation_service.dashboard.figures import counted, duration, epsilon, number, percent, size
from aggregation_service.dashboard.views.rounds import PHASES_LOST_IN, RoundView

ABANDONED = "✕"
"""Stands under a round that has no result."""

_LABELS = 10
_LETTERS = 20  # the size that a narrow screen needs, where the drawing is shrunk; it decides the room for labels
_LAYOUT: dict[str, Any] = {
    "js": (),
    "style": Style(label_font_size=_LETTERS, major_label_font_size=_LETTERS),
    "width": 600,
    "height": 250,
    "margin": 4,
    "show_legend": False,
    "max_scale": 5,
    "truncate_label": -1,
    "disable_xml_declaration": True,
}
_UNITS = ((3 * 86_400, 86_400, "d"), (3 * 3600, 3600, "h"), (3 * 60, 60, "min"), (0, 1, "s"))
_TAKEN_OUT = frozenset({"defs", "script", "style", "desc", "title"})
_OVERLAYS = ("text-overlay", "tooltip-overlay")
_Writer = Callable[[float], str]


def cohorts(rounds: Sequence[RoundView]) -> str:
    """Devices in each round: reported, still at work, dropped out, or in a round without result."""
    chart = StackedBar(**_LAYOUT, value_formatter=number)
    _add(chart, rounds, "reported", [0 if found.is_abandoned else found.reported for found in rounds], number)
    _add(chart, rounds, "still at work", [found.waiting for found in rounds], number)
    dropped_out = [0 if found.is_abandoned else found.drop_outs.total for found in rounds]
    _add(chart, rounds, "dropped out", dropped_out, number)
    _add(chart, rounds, "selected in vain", [found.selected if found.is_abandoned else 0 for found in rounds], number)
    abandoned = sum(found.is_abandoned for found in rounds)
    return _render(chart, rounds, f"Devices in {counted(len(rounds), 'round')}, {abandoned} of them abandoned")


def drop_outs(rounds: Sequence[RoundView]) -> str:
    """Devices of each round that were selected and are not in its result, by the phase that they came to."""
    chart = StackedBar(**_LAYOUT, value_formatter=number)
    for phase, name in PHASES_LOST_IN.items():
        _add(chart, rounds, name, [found.drop_outs.by_phase[phase] for found in rounds], number)
    return _render(chart, rounds, f"Devices that dropped out of {counted(len(rounds), 'round')}, by phase")


def durations(rounds: Sequence[RoundView]) -> str:
    """How long each round was open; nothing for one that still is."""
    seconds = [found.duration_s for found in rounds]
    longest = max((one for one in seconds if one is not None), default=0)
    unit_s, unit = next((unit_s, unit) for least, unit_s, unit in _UNITS if longest >= least)
    chart = Bar(**_LAYOUT, value_formatter=lambda value: f"{value:g} {unit}")
    units = [None if one is None else one / unit_s for one in seconds]
    _add(chart, rounds, "open", units, lambda value: duration(value * unit_s))
    return _render(chart, rounds, "Duration of rounds")


def bytes_up(rounds: Sequence[RoundView]) -> str:
    """Bytes that each round's reports had."""
    chart = Bar(**_LAYOUT, value_formatter=size)
    _add(chart, rounds, "received", [found.bytes_up for found in rounds], size)
    return _render(chart, rounds, "Bytes received by round")


def spending(rounds: Sequence[RoundView], by_round: Mapping[str, float], limit: float | None) -> str:
    """Epsilon by the end of each round, and the budget where there is one; unbounded spending has no line."""
    chart = Line(**_LAYOUT, value_formatter=epsilon, include_x_axis=True, dots_size=2.5)
    _add(chart, rounds, "ε spent", [_finite(by_round.get(found.id)) for found in rounds], epsilon)
    if limit is not None:
        _add(chart, rounds, "ε allowed", [limit for _ in rounds], epsilon)
    return _render(chart, rounds, "ε spent by round" + ("" if limit is None else f", with the budget of {limit:g}"))


def recalls(rounds: Sequence[RoundView], measured: Mapping[str, Sequence[float | None]]) -> str:
    """Federated recall by evaluation round, a line for each name in `measured`."""
    chart = Line(**_LAYOUT, value_formatter=percent, dots_size=3.5)
    for name, values in measured.items():
        _add(chart, rounds, name, values, percent)
    return _render(chart, rounds, f"Recall in {counted(len(rounds), 'evaluation round')}")


def _add(chart: Any, rounds: Sequence[RoundView], name: str, values: Sequence[float | None], write: _Writer) -> None:
    points = [
        {"value": value, "label": "" if value is None else f"round {found.number}: {write(value)} {name}"}
        for found, value in zip(rounds, values, strict=True)
    ]
    chart.add(name, points)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _render(chart: Any, rounds: Sequence[RoundView], told: str) -> str:
    chart.x_labels = _labels(rounds)
    root = chart.render_tree()
    _strip(root)
    for attribute in ("id", "class", "xmlns"):
        root.attrib.pop(attribute, None)
    root.attrib.update({"role": "img", "aria-label": f"{told}. The table of rounds has the same figures."})
    drawn: str = etree.tostring(root, encoding="unicode")  # which escapes names and labels
    return drawn


def _labels(rounds: Sequence[RoundView]) -> list[str]:
    """Numbers of some rounds, and a mark at each abandoned one, which no number may touch."""
    every = math.ceil(len(rounds) / _LABELS)
    marked = {place for place, found in enumerate(rounds) if found.is_abandoned}
    touched = marked if every == 1 else {place + step for place in marked for step in (-1, 0, 1)}
    return [
        ABANDONED if place in marked else str(found.number) if place % every == 0 and place not in touched else ""
        for place, found in enumerate(rounds)
    ]


def _strip(parent: Any) -> None:
    """Takes out what needs a script or a style, and makes a shape's label its title, which browsers show."""
    for child in list(parent):
        kind = child.get("class", "") if isinstance(child.tag, str) else ""
        if child.tag == "desc" and kind == "label" and child.text:
            child.tag = "title"
            child.attrib.clear()
        elif not isinstance(child.tag, str) or child.tag in _TAKEN_OUT or kind.endswith(_OVERLAYS):
            parent.remove(child)
        else:
            _strip(child)
