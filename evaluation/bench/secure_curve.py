"""Cost by size of the group: what a device and the service pay, and what that predicts for a million devices."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from evaluation.bench.measured_client import measure_client
from evaluation.bench.measured_service import measure_service, num_turns
from evaluation.bench.runner import progress
from evaluation.bench.secure_session import Setting
from protocol.secure_aggregation.sizing import Mode

SIZES = (32, 128, 512, 1024, 4096)
FILE_NAME = "secure-aggregation-curve"
LARGEST: dict[Mode, int] = {"semi_honest": 4096, "malicious": 1024}
"""Groups beyond are not measured: in the mode `malicious` the degree, and with it all work, grows with the group."""
MILLION = 10**6
_CLIENT_REPEATS = 3
_COLOURS: dict[Mode, str] = {"semi_honest": "#2a7f9e", "malicious": "#c2571a"}
_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What groups of one size cost.

    Attributes:
      mode: what members fear of the service.
      num_members: of a group.
      degree: neighbours of each.
      threshold: shares that give a secret.
      client_cpu_s: CPU seconds of a device, encoding included, median.
      client_bytes: that a device sends and is told, its update included.
      service_cpu_s: CPU seconds of the service for the group.
      service_peak_bytes: memory of the service for the group.

    """

    mode: Mode
    num_members: int
    degree: int
    threshold: int
    client_cpu_s: float
    client_bytes: float
    service_cpu_s: float
    service_peak_bytes: int

    @property
    def service_ms_a_member(self) -> float:
        """CPU milliseconds of the service for one member."""
        return 1e3 * self.service_cpu_s / self.num_members

    @property
    def core_minutes_a_million(self) -> float:
        """What the service needs for a million devices in groups of this size, whose sums are added in the clear."""
        return self.service_cpu_s * MILLION / self.num_members / 60


def measure_curve(sizes: Sequence[int], vector_length: int, *, console: Console) -> tuple[Point, ...]:
    """Measures a device and the service at each size, in both modes; 16 bits, a tenth dropping out.

    Args:
      sizes: of groups.
      vector_length: values of one update.
      console: shows the progress.

    """
    settings = [
        Setting(num_members=size, vector_length=vector_length, mode=mode)
        for mode, largest in LARGEST.items()
        for size in sizes
        if size <= largest
    ]
    return tuple(_measure(setting, console) for setting in settings)


def save_curve(points: Sequence[Point], folder: Path) -> None:
    """Writes the points as JSON and as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.format(msgspec.json.encode(points), indent=2)
    (folder / f"{FILE_NAME}.json").write_bytes(content + b"\n")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw(left, points, "client_cpu_s", "a device, CPU s")
        _draw(right, points, "service_ms_a_member", "the service, CPU ms a member")
        figure.savefig(folder / f"{FILE_NAME}.png", dpi=150, metadata={"Software": None})


def print_curve(points: Sequence[Point], console: Console) -> None:
    """Prints the points as a table, with what they predict for a million devices."""
    table = Table(title="Cost by size of the group", title_justify="left", box=SIMPLE)
    table.add_column("mode", no_wrap=True)
    for column in (
        "n",
        "degree",
        "device CPU s",
        "device MB",
        "service CPU s",
        "service MB",
        "core min a million",
    ):
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(
            *(point.mode, f"{point.num_members:,}", str(point.degree)),
            *(f"{point.client_cpu_s:.3f}", f"{point.client_bytes / 1e6:.2f}"),
            *(f"{point.service_cpu_s:.2f}", f"{point.service_peak_bytes / 1e6:.0f}"),
            f"{point.core_minutes_a_million:.0f}",
        )
    console.print(table)


def _measure(setting: Setting, console: Console) -> Point:
    degree, threshold = setting.graph_size
    title = f"n={setting.num_members:,} {setting.mode}"
    with progress(title, num_turns(setting) + _CLIENT_REPEATS + 1, console) as on_turn:
        client = measure_client(setting, repeats=_CLIENT_REPEATS, on_turn=on_turn)
        service = measure_service(setting, on_turn=on_turn)
    return Point(
        mode=setting.mode,
        num_members=setting.num_members,
        degree=degree,
        threshold=threshold,
        client_cpu_s=client.cpu_s.median,
        client_bytes=service.bytes_up + service.bytes_down,
        service_cpu_s=service.cpu_s,
        service_peak_bytes=service.peak_bytes,
    )


def _draw(axes: Axes, points: Sequence[Point], quantity: str, label: str) -> None:
    for mode, colour in _COLOURS.items():
        line = [(point.num_members, getattr(point, quantity)) for point in points if point.mode == mode]
        if line:
            axes.plot(*zip(*line, strict=True), color=colour, marker="o", linewidth=2.2, label=mode.replace("_", "-"))
    sizes = sorted({point.num_members for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, axis="y", linewidth=0.6, color="#dddddd")
    axes.set_xlabel("members of a group")
    axes.set_title(label, loc="left", fontsize=11)
    axes.legend(loc="upper left")
