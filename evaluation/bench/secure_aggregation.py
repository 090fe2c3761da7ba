"""Secure aggregation at the full-size model: what it costs devices and the service, and what Flower's SecAgg+ costs.

Times are CPU seconds of a process of its own with one thread, so other work on the machine hardly moves them. What
counts on the service's side is all that `protocol.secure_aggregation` does with real bytes, on Flower's all that its
workflow does; HTTP, storage and the clients are left out on both. Every session's sum is compared with the true one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from evaluation.bench import runner
from evaluation.bench.environment import environment_python
from evaluation.bench.flower.server import flower_server
from evaluation.bench.measured_client import ClientCost, measure_client
from evaluation.bench.measured_service import ServiceCost, measure_service, num_turns
from evaluation.bench.runner import Result, compare, progress
from evaluation.bench.secure_curve import Point, measure_curve, print_curve
from evaluation.bench.secure_session import Setting
from model.network import FULL
from protocol.update import encode_update

NAME = "secure-aggregation"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is measured.

    Attributes:
      vector_length: values of one update.
      small_cohort: members of the session that is compared with Flower's.
      large_cohort: members of the larger ones.
      repeats: runs that count of a device and of the comparison, at least 2.
      large_repeats: sessions of a large cohort; the one of median cost is shown.
      curve_sizes: groups to measure cost by size at; none without the curve.

    """

    vector_length: int = FULL.num_weights
    small_cohort: int = 128
    large_cohort: int = 1000
    repeats: int = 5
    large_repeats: int = 3
    curve_sizes: Sequence[int] = ()

    @property
    def compared(self) -> Setting:
        """16 bits, a tenth dropping out, and the guarantees that Flower's protocol has too."""
        return Setting(num_members=self.small_cohort, vector_length=self.vector_length, mode="semi_honest")

    @property
    def published(self) -> Setting:
        """The paper's assumptions: a twentieth corrupt, a twentieth dropping out. 1,000 members have 30 neighbours."""
        return Setting(
            num_members=self.large_cohort,
            vector_length=self.vector_length,
            mode="semi_honest",
            dropout_fraction=0.05,
            dropping_out=0.05,
        )

    @property
    def default(self) -> Setting:
        """What new populations have, for a large cohort."""
        return Setting(num_members=self.large_cohort, vector_length=self.vector_length)

    @property
    def small_updates(self) -> Setting:
        """What new populations have, for a small cohort."""
        return Setting(num_members=self.small_cohort, vector_length=self.vector_length, value_bits=12)

    @property
    def plain_bytes(self) -> int:
        """Of a plain upload of 16 bits a value."""
        return len(encode_update(self.compared.update(), "int16"))


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, and what it must be.

    Attributes:
      what: is measured.
      value: the figure.
      unit: of it.
      limit: that it must not exceed; None where there is no target.

    """

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is within its limit, or has none."""
        return self.limit is None or self.value <= self.limit


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures; the first five are those of the service against Flower's.

    Attributes:
      name: of the benchmark.
      value: our service's median, CPU seconds a session.
      unit: of `value` and `reference`.
      reference: the median of Flower's.
      ratio: `value` over `reference`.
      service: the comparison in full.
      stages: CPU seconds of the service of a large cohort with the default setting, by what they were spent on.
      measures: figures with their targets.
      curve: cost by size of the group, if that was asked for.

    """

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    service: Result
    stages: dict[str, float]
    measures: tuple[Measure, ...]
    curve: tuple[Point, ...]


class OurServer:
    """Our side of the comparison."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.peak_bytes = 0

    def run(self) -> float:
        """CPU seconds of one session."""
        cost = measure_service(self._setting)
        self.peak_bytes = max(self.peak_bytes, cost.peak_bytes)
        return cost.cpu_s


def run(choices: Choices, *, flower: Path | None, console: Console) -> Figures:
    """Measures everything.

    Args:
      choices: what is measured.
      flower: the Python of an environment with `flwr`; None for one of our own, made from its lock if need be.
      console: shows the progress.

    Raises:
      NoEnvironment, FlowerFailed, WrongSum, NoSession: see there.

    """
    with console.status("making Flower's environment"):
        python = flower or environment_python("flower")
    ours = OurServer(choices.compared)
    service = _compare(ours, choices, python, console)
    default = _service(choices.default, choices.large_repeats, console)
    measures = [
        *_speed_measures(choices, service),
        *_device_measures(choices.published, choices, console),
        *_device_measures(choices.default, choices, console),
        *_service_measures(choices, default, ours.peak_bytes, console),
    ]
    curve = measure_curve(choices.curve_sizes, choices.vector_length, console=console)
    return Figures(
        name=NAME,
        value=service.value,
        unit=service.unit,
        reference=service.reference,
        ratio=service.ratio,
        service=service,
        stages=default.cpu_s_by_stage,
        measures=tuple(measures) if choices.vector_length == FULL.num_weights else _without_limits(measures),
        curve=curve,
    )


def print_figures(figures: Figures, console: Console) -> None:
    """Prints all figures as tables."""
    runner.print_result(figures.service, console)
    table = Table("measure", title=f"{NAME}: figures", title_justify="left")
    for column in ("median", "target"):
        table.add_column(column, justify="right")
    table.add_column("met")
    for measure in figures.measures:
        target = "" if measure.limit is None else f"<= {measure.limit:g} {measure.unit}"
        met = "" if measure.limit is None else "yes" if measure.is_met else "no"
        table.add_row(measure.what, f"{measure.value:.3g} {measure.unit}", target, met)
    console.print(table)
    stages = ", ".join(f"{stage} {cpu_s:.2f}" for stage, cpu_s in figures.stages.items())
    console.print(f"CPU s of the service of the large cohort, malicious: {stages}", style="dim")
    if figures.curve:
        print_curve(figures.curve, console)


def _compare(ours: OurServer, choices: Choices, python: Path, console: Console) -> Result:
    setting = choices.compared
    degree, threshold = setting.graph_size
    details: dict[str, str | int | float] = {
        "members": setting.num_members,
        "dropped": setting.num_dropped,
        "degree": degree,
        "threshold": threshold,
        "value_bits": setting.value_bits,
        "vector_length": setting.vector_length,
    }
    with (
        flower_server(setting, python) as reference,
        progress(f"{NAME}: service", choices.repeats + 1, console) as on_turn,
    ):
        return compare(
            f"{NAME}: service, against Flower's SecAgg+",
            "CPU s",
            ours,
            reference,
            repeats=choices.repeats,
            details=details,
            on_turn=on_turn,
        )


def _service(setting: Setting, repeats: int, console: Console) -> ServiceCost:
    """The session of median cost."""
    title = f"{NAME}: {_describe(setting)}"
    with progress(title, repeats * num_turns(setting), console) as on_turn:
        costs = [measure_service(setting, on_turn=on_turn) for _ in range(repeats)]
    return sorted(costs, key=lambda cost: cost.cpu_s)[repeats // 2]


def _device(setting: Setting, choices: Choices, console: Console) -> ClientCost:
    with progress(f"{NAME}: device, {_describe(setting)}", choices.repeats + 1, console) as on_turn:
        return measure_client(setting, repeats=choices.repeats, on_turn=on_turn)


def _speed_measures(choices: Choices, service: Result) -> list[Measure]:
    what = f"service's work over Flower's, {_describe(choices.compared)}"
    return [Measure(what=what, value=service.ratio, unit="", limit=0.1)]


def _device_measures(setting: Setting, choices: Choices, console: Console) -> list[Measure]:
    cost = _device(setting, choices, console)
    where = f"device, {_describe(setting)}"
    return [
        Measure(what=f"{where}: its first session", value=cost.first_cpu_s, unit="CPU s", limit=0.5),
        Measure(what=f"{where}: a later one", value=cost.cpu_s.median, unit="CPU s", limit=0.5),
        Measure(what=f"{where}: memory over its update", value=cost.peak_bytes / 1e6, unit="MB", limit=60.0),
    ]


def _service_measures(choices: Choices, default: ServiceCost, small_bytes: int, console: Console) -> list[Measure]:
    """The service of large cohorts, and bytes."""
    published = _service(choices.published, choices.large_repeats, console)
    small = _service(choices.small_updates, 1, console)
    further = choices.large_cohort - choices.small_cohort
    names = _describe(choices.published), _describe(choices.default)
    per_member = (published.peak_bytes - small_bytes) / further
    return [
        Measure(what=f"service, {names[0]}", value=published.cpu_s, unit="CPU s", limit=60.0),
        Measure(what=f"service, {names[1]}", value=default.cpu_s, unit="CPU s", limit=60.0),
        Measure(what=f"service's memory, {names[0]}", value=published.peak_bytes / 1e6, unit="MB"),
        Measure(what="service's memory for one more member", value=per_member / 1e3, unit="kB"),
        Measure(what=f"bytes over a plain upload, {names[0]}", value=_relative(published, choices), unit="", limit=1.1),
        Measure(what=f"bytes over a plain upload, {names[1]}", value=_relative(default, choices), unit="", limit=1.1),
        Measure(what=f"upload, {_describe(choices.small_updates)}", value=small.bytes_up / 1e6, unit="MB", limit=2.2),
    ]


def _without_limits(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """Targets are those of the full-size model."""
    return tuple(msgspec.structs.replace(measure, limit=None) for measure in measures)


def _relative(cost: ServiceCost, choices: Choices) -> float:
    """All bytes of a member's session, in both directions, over those of a plain upload."""
    return (cost.bytes_up + cost.bytes_down) / choices.plain_bytes


def _describe(setting: Setting) -> str:
    bits = "" if setting.value_bits == 16 else f", {setting.value_bits} bits"
    return f"n={setting.num_members:,} {setting.mode}, degree {setting.graph_size.degree}{bits}"
