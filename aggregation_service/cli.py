"""`keychorus service`: what an operator types."""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DatabaseError

from aggregation_service import operations
from aggregation_service.clock import ClockError
from aggregation_service.config import CONFIG_VARIABLE, ConfigError, load_config
from aggregation_service.privacy.ledger import UnknownEvent
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from aggregation_service.storage.database import OutdatedDatabase
from aggregation_service.summaries import PopulationSummary
from protocol.errors import MalformedMessage, ProtocolError
from protocol.plan import Plan, decode_plan
from protocol.weights import decode_checkpoint

_CLEAR = (
    ClockError,
    ConfigError,
    OSError,
    OutdatedDatabase,
    ProtocolError,
    UnknownEvent,
    ValueError,
    operations.OperationError,
)
"""What an operator can mend, and whose text is one sentence."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)

config_option = click.option(
    "--config",
    "config_path",
    envvar=CONFIG_VARIABLE,
    default="service/service.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The service's configuration file; also by {CONFIG_VARIABLE}.",
)


@click.group()
def service() -> None:
    """Run the aggregation service and tell it what to train."""


@service.command()
@click.argument("folder", type=_FOLDER, default=Path("service"))
@click.option("--clock", "clock_path", type=click.Path(dir_okay=False, path_type=Path), help="File of virtual time.")
@click.option("--delta", default=1e-10, show_default=True, help="The delta at which epsilon is told.")
def init(folder: Path, clock_path: Path | None, delta: float) -> None:
    """Make a service: configuration, signing key, database.

    \b
    Example:
      keychorus service init /srv/keychorus
    """
    with _clear_errors():
        paths = operations.initialise(folder, clock_path=clock_path, privacy_delta=delta)
    click.echo(
        f"configuration  {paths.config_path}\nsigning key    {paths.signing_key_path} (keep it, and keep it secret)"
    )
    click.echo(f"public key     {paths.public_key_path} (devices are enrolled with it)")


@service.group()
def population() -> None:
    """Populations: devices that share a vocabulary and a model."""


@population.command("add")
@click.argument("name")
@config_option
def population_add(name: str, config_path: Path) -> None:
    """Add a population.

    \b
    Example:
      keychorus service population add en-gb
    """
    with _clear_errors():
        operations.add_population(load_config(config_path), name)
    click.echo(f"added population {name}")


@service.group()
def task() -> None:
    """Tasks: what a population trains."""


@task.command("create")
@click.argument("population_name", metavar="POPULATION")
@click.option("--plan", "plan_path", type=_FILE, required=True, help="The plan, as JSON or TOML.")
@click.option("--training-graph", "graph_path", type=_FILE, required=True, help="The training .tflite file.")
@click.option("--checkpoint", "checkpoint_path", type=_FILE, help="Weights to start from; without: the newest.")
@click.option(
    "--vocabulary", "vocabulary_path", type=_FILE, help="A vocabulary that devices train with, not read here."
)
@click.option("--minimum-reports", type=int, required=True, help="Fewer by the deadline abandon a round.")
@click.option("--over-selection", default=1.3, show_default=True, help="Devices selected per report wanted.")
@click.option("--min-examples", default=1, show_default=True, help="Examples a device must hold.")
@click.option("--selection-timeout-s", default=600.0, show_default=True, help="Seconds in which a cohort must gather.")
@click.option("--report-deadline-s", default=600.0, show_default=True, help="Seconds a selected device has to report.")
@click.option("--server-momentum", default=0.9, show_default=True, help="Momentum of the server's optimiser.")
@click.option("--server-learning-rate", default=1.0, show_default=True, help="Its learning rate.")
@config_option
def task_create(
    *,
    population_name: str,
    plan_path: Path,
    graph_path: Path,
    checkpoint_path: Path | None,
    vocabulary_path: Path | None,
    server_momentum: float,
    server_learning_rate: float,
    config_path: Path,
    **parameters: float,
) -> None:
    """Give a population something to train; an open round of its last task is abandoned.

    Report goal, minimum separation, clipping and noise stand in the plan.

    \b
    Example:
      keychorus service task create en-gb --plan plan.toml --training-graph train.tflite \\
          --checkpoint weights.safetensors --minimum-reports 80
    """
    with _clear_errors():
        plan = _read_plan(plan_path)
        weights = None if checkpoint_path is None else decode_checkpoint(checkpoint_path.read_bytes(), plan.tensors)
        version = operations.create_task(
            load_config(config_path),
            population=population_name,
            plan=plan,
            training_graph=graph_path.read_bytes(),
            checkpoint=weights,
            parameters=msgspec.convert(parameters, RoundParameters),
            optimizer=ServerMomentum(momentum=server_momentum, learning_rate=server_learning_rate),
            vocabulary=None if vocabulary_path is None else vocabulary_path.read_bytes(),
        )
    click.echo(f"{population_name} trains from model version {version}")


@service.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on; 0 takes a free one and logs it.")
@click.option("--threads", default=8, show_default=True, help="Requests served at once.")
@config_option
def run(host: str, port: int, threads: int, config_path: Path) -> None:
    """Serve, by gunicorn, until stopped; migrates the database first.

    \b
    Example:
      keychorus service run --config /srv/keychorus/service.toml --port 8080
    """
    with _clear_errors():
        config = load_config(config_path)
        operations.public_key(config)  # refuses here, in one sentence, rather than in a worker's trace
        operations.migrate(config)
    os.environ[CONFIG_VARIABLE] = str(config_path.absolute())
    command = operations.gunicorn_command(host=host, port=port, threads=threads)
    os.execv(command[0], command)  # noqa: S606  # no shell, no user input but host, port and threads


@service.group()
def release() -> None:
    """Releases: what devices predict with."""


@release.command("publish")
@click.argument("population_name", metavar="POPULATION")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model-version", type=int, help="Version of the weights released; without: the newest.")
@config_option
def release_publish(population_name: str, folder: Path, model_version: int | None, config_path: Path) -> None:
    """Sign the files of a folder, with the privacy statement of their training, and offer them to devices.

    A file's name without its ending is its name in the release: prediction_model, vocabulary, casing.

    \b
    Example:
      keychorus service release publish en-gb build/release
    """
    with _clear_errors():
        files = _read_release(folder)
        config = load_config(config_path)
        manifest = operations.publish_release(
            config, population=population_name, files=files, model_version=model_version
        )
    click.echo(f"released model version {manifest.model_version} to {population_name}: {', '.join(manifest.files)}")


@service.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a population.")
def status(config_path: Path, as_json: bool) -> None:
    """Show populations, rounds and privacy spent.

    \b
    Example:
      keychorus service status --config /srv/keychorus/service.toml
    """
    with _clear_errors():
        summaries = operations.summaries(load_config(config_path))
    if as_json:
        for summary in summaries:
            click.echo(msgspec.json.encode(summary))
        return
    console = Console()
    for summary in summaries:
        console.print(_table(summary))


def _table(summary: PopulationSummary) -> Table:
    model = "no model yet" if summary.model_version is None else f"model version {summary.model_version}"
    title = f"{summary.population}: {model}, {summary.devices} devices seen"
    caption = f"ε {_number(summary.epsilon)} at δ {summary.delta:g}; refused: {sum(summary.refusals.values())}"
    table = Table(title=title, caption=caption)
    for heading in ("round", "phase", "selected", "reported", "shortened", "MB up", "ε so far"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for entry in summary.rounds:
        counts = (entry.selected, entry.reported, entry.shortened)
        phase = entry.phase if entry.abandoned_because is None else f"{entry.phase} ({entry.abandoned_because})"
        table.add_row(
            str(entry.number), phase, *map(str, counts), f"{entry.bytes_up / 1e6:.1f}", _number(entry.epsilon)
        )
    return table


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3g}"


def _read_plan(path: Path) -> Plan:
    if path.suffix != ".toml":
        return decode_plan(path.read_bytes())
    try:
        return decode_plan(msgspec.json.encode(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"{path} is not TOML: {error}") from None


def _read_release(folder: Path) -> dict[str, bytes]:
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and paths.setdefault(path.stem, path) != path:
            raise operations.OperationError(f"{paths[path.stem].name} and {path.name} would both be named {path.stem}")
    return {name: path.read_bytes() for name, path in paths.items()}


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turns what an operator can mend into one sentence, instead of a trace."""
    try:
        yield
    except DatabaseError as error:  # whose own text goes over many lines
        raise click.ClickException(f"the database cannot be used: {error.orig}") from None
    except _CLEAR as error:
        raise click.ClickException(str(error)) from None
