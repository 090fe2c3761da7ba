"""A sweep's table in the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from emulator.simulation.outcome import RunOutcome, Sweep, nats

COLUMNS = ("noise", "clip", "device rate", "server, rate", "top-1 %", "loss, nats", "lost rounds", "time, s")


def print_sweep(sweep: Sweep, console: Console) -> None:
    """Prints a row for each run, best recall first."""
    first = sweep.runs[0].settings
    title = (
        f"{first.rounds} rounds of {first.cohort} of {sweep.devices} devices, {sweep.preset} network; "
        f"{sweep.held_out} held-out people"
    )
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("aggregator", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    before = (f"{100 * sweep.pretrained.top1:.2f}", _figure(nats(sweep.pretrained)))
    table.add_row("before", *[""] * 4, *before, "", "")
    for run in sorted(sweep.runs, key=lambda run: -1.0 if run.accuracy is None else run.accuracy.top1, reverse=True):
        table.add_row(run.settings.aggregator, *cells(run))
    console.print(table)


def cells(run: RunOutcome) -> tuple[str, ...]:
    """What the table says of a run, in the order of `COLUMNS`."""
    settings = run.settings
    server = type(settings.optimizer).__name__.removeprefix("Server").lower()
    return (
        f"{settings.noise_multiplier:g}",
        f"{settings.l2_clip_norm:g}",
        f"{settings.learning_rate:g}",
        f"{server} {settings.optimizer.learning_rate:g}",
        "diverged" if run.accuracy is None else f"{100 * run.accuracy.top1:.2f}",
        _figure(run.loss),
        str(run.lost_rounds),
        f"{run.seconds:.0f}",
    )


def _figure(loss: float | None) -> str:
    return "∞" if loss is None else f"{loss:.3f}"
