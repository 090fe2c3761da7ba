"""`keychorus service task`: what a population trains."""

import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from aggregation_service import operations
from aggregation_service.commands.clipping_options import clipping_options, explain_clipping, take_clipping
from aggregation_service.commands.mechanism_options import explain, mechanism_options, take_mechanism
from aggregation_service.commands.shared import FILE, clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.operations.aggregation import (
    with_noise_by_devices,
    with_noise_by_service,
    with_plain_updates,
    with_secure_aggregation,
)
from aggregation_service.rounds.combining import Combining, Mean, Median, TrimmedMean
from aggregation_service.rounds.optimizer import ServerAdam, ServerAverage, ServerMomentum, ServerOptimizer
from aggregation_service.rounds.parameters import RoundParameters
from protocol.errors import MalformedMessage
from protocol.plan import Plan, decode_plan
from protocol.weights import decode_checkpoint, encode_checkpoint

_OPTIMIZERS: dict[str, type[ServerOptimizer]] = {
    "average": ServerAverage,
    "momentum": ServerMomentum,
    "adam": ServerAdam,
}
_RULES: dict[str, type[Combining]] = {"mean": Mean, "median": Median, "trimmed-mean": TrimmedMean}


@click.group()
def task() -> None:
    """Tasks: what a population trains."""


@task.command("create")
@click.argument("population_name", metavar="POPULATION")
@click.option("--plan", "plan_path", type=FILE, required=True, help="The plan, as JSON or TOML.")
@click.option("--training-graph", "graph_path", type=FILE, required=True, help="The training .tflite file.")
@click.option("--checkpoint", "checkpoint_path", type=FILE, help="Weights to start from; without: the newest.")
@click.option("--vocabulary", "vocabulary_path", type=FILE, help="A vocabulary that devices train with, not read here.")
@click.option("--minimum-reports", type=int, required=True, help="Fewer by the deadline abandon a round.")
@click.option("--over-selection", default=1.3, show_default=True, help="Devices selected per report wanted.")
@click.option("--min-examples", default=1, show_default=True, help="Examples a device must hold.")
@click.option("--selection-timeout-s", default=600.0, show_default=True, help="Seconds in which a cohort must gather.")
@click.option("--report-deadline-s", default=600.0, show_default=True, help="Seconds a selected device has to report.")
@click.option("--gather-s", default=30.0, show_default=True, help="Seconds a device waits for a group to fill.")
@click.option("--stage-timeout-s", default=60.0, show_default=True, help="Seconds a group waits for who is silent.")
@click.option("--poll-s", default=2, show_default=True, help="Seconds after which a member that waits asks again.")
@click.option(
    "--secure-aggregation/--plain-updates",
    "secure",
    default=None,
    help="Whether the service learns sums only. Without either: as the plan says, or if it can be.",
)
@click.option(
    "--noise-by",
    type=click.Choice(["service", "devices"]),
    help="Who adds the noise; without: as the plan says. Devices add it in shares, so that nobody must trust the "
    "service for it: each group's sum has the plan's noise by itself, so k groups have sqrt(k) times as much together.",
)
@click.option(
    "--combine",
    type=click.Choice(list(_RULES)),
    default="mean",
    show_default=True,
    help="How updates become one. The others hold out against hostile updates, for plain updates without noise only; "
    "each update is kept, sealed, until its round closes: reports x weights x 4 bytes of the database.",
)
@click.option("--trim", type=float, help="Of trimmed-mean; share of updates cut off at each end, 0.1.")
@mechanism_options
@clipping_options
@click.option(
    "--server-optimizer",
    type=click.Choice(list(_OPTIMIZERS)),
    default="momentum",
    show_default=True,
    help="How the server steps from an average update to new weights.",
)
@click.option("--server-learning-rate", type=float, help="Its learning rate; 1, for adam 0.01.")
@click.option("--server-momentum", type=float, help="Of momentum; 0.9.")
@click.option("--server-beta1", type=float, help="Of adam; 0.9.")
@click.option("--server-beta2", type=float, help="Of adam; 0.99.")
@click.option("--server-adaptivity", type=float, help="Of adam, tau in its paper; 0.001.")
@config_option
def task_create(
    *,
    population_name: str,
    plan_path: Path,
    graph_path: Path,
    checkpoint_path: Path | None,
    vocabulary_path: Path | None,
    config_path: Path,
    combine: str,
    trim: float | None,
    server_optimizer: str,
    secure: bool | None,
    noise_by: str | None,
    **settings: Any,
) -> None:
    """Give a population something to train; the task before ends, and its open round is abandoned.

    Report goal, minimum separation, clipping and noise stand in the plan.

    \b
    Examples:
      keychorus service task create en-gb --plan plan.toml --training-graph train.tflite \\
          --checkpoint weights.safetensors --minimum-reports 80
      keychorus service task create en-gb --plan plan.toml --training-graph train.tflite \\
          --minimum-reports 5000 --mechanism buffered --planned-rounds 2000 --separation-rounds 342
      keychorus service task create en-gb --plan plan.toml --training-graph train.tflite \\
          --minimum-reports 90 --noise-by devices
      keychorus service task create en-gb --plan plan.toml --training-graph train.tflite \\
          --minimum-reports 80 --adaptive-clipping --clipping-quantile 0.5 --clipping-ceiling 5
    """
    with clear_errors():
        plan = _read_plan(plan_path) if noise_by != "service" else with_noise_by_service(_read_plan(plan_path))
        weights = None if checkpoint_path is None else decode_checkpoint(checkpoint_path.read_bytes(), plan.tensors)
        of_server = {name.removeprefix("server_"): settings.pop(name) for name in list(settings) if "server_" in name}
        chosen = take_mechanism(settings)
        adapting = take_clipping(plan, settings)
        parameters = RoundParameters(
            **settings, **chosen.settings, combining=_make_rule(combine, trim), adaptive_clipping=adapting.clipping
        )
        plan = _choose_aggregation(adapting.plan, parameters, secure=secure, noise_by=noise_by)
        version = operations.create_task(
            load_config(config_path),
            population=population_name,
            plan=plan,
            training_graph=graph_path.read_bytes(),
            checkpoint=weights,
            parameters=parameters,
            optimizer=_make_optimizer(server_optimizer, of_server),
            vocabulary=None if vocabulary_path is None else vocabulary_path.read_bytes(),
        )
    click.echo(f"{population_name} trains from model version {version}, {_describe(plan, parameters.combining)}")
    for line in (*explain(chosen), *explain_clipping(adapting)):
        click.echo(line)


@task.command("end")
@click.argument("population_name", metavar="POPULATION")
@config_option
def task_end(*, population_name: str, config_path: Path) -> None:
    """End an evaluation if one runs, else a discovery of new words, else the training; its open round is abandoned.

    The model stays, and what was spent stays spent. `task create` without a checkpoint goes on from the newest weights.

    \b
    Example:
      keychorus service task end en-gb
    """
    with clear_errors():
        task_id = operations.end_task(load_config(config_path), population_name)
    click.echo(f"task {task_id} of {population_name} has ended")


@task.command("weights")
@click.argument("population_name", metavar="POPULATION")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write, safetensors."
)
@config_option
def task_weights(*, population_name: str, output: Path, config_path: Path) -> None:
    """Write the population's newest weights to a file, exact, for `keychorus model`.

    \b
    Example:
      keychorus service task weights en-gb --output newest.safetensors
    """
    with clear_errors():
        version, weights = operations.current_checkpoint(load_config(config_path), population_name)
        output.write_bytes(encode_checkpoint(weights))
    click.echo(f"{output}: model version {version}")


def _choose_aggregation(plan: Plan, parameters: RoundParameters, *, secure: bool | None, noise_by: str | None) -> Plan:
    """Secure aggregation is the default; who does not ask for it has plain updates where cohorts are too small.

    Noise by devices is nobody's default, and has no other way.
    """
    if noise_by == "devices" or plan.privacy.noise_by == "devices":
        if secure is False:
            raise click.UsageError("--plain-updates do not go with noise by devices: a share alone hides too little")
        return with_noise_by_devices(plan, parameters)
    if secure is False:
        return with_plain_updates(plan)
    try:
        return with_secure_aggregation(plan, parameters)
    except operations.OperationError as error:
        if secure:
            raise
        click.echo(f"plain updates: {error}")
        return plan


def _describe(plan: Plan, rule: Combining) -> str:
    secure = plan.secure_aggregation
    if secure is None:
        return "with plain updates" if isinstance(rule, Mean) else f"with plain updates, by their {rule.name}"
    members = f"{secure.min_members} to {secure.max_members} devices"
    told = f"with secure aggregation in groups of {members}, {secure.value_bits} bits a value"
    if (shared := plan.shared_noise) is None:
        return told
    return f"{told}, noise by devices, of whom {shared.num_honest} a group are counted on"


def _make_rule(kind: str, trim: float | None) -> Combining:
    """Makes a rule; a trim that it does not have is refused rather than ignored."""
    if trim is None:
        return _RULES[kind]()
    if kind != "trimmed-mean":
        raise operations.OperationError(f"--combine {kind} has no --trim: only trimmed-mean has")
    return TrimmedMean(trim=trim)


def _make_optimizer(kind: str, options: dict[str, float | None]) -> ServerOptimizer:
    """Makes an optimiser of the options that were given; one that it does not have is refused rather than ignored."""
    optimizer = _OPTIMIZERS[kind]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in optimizer.__struct_fields__:
            known = ", ".join(f"--server-{field.replace('_', '-')}" for field in optimizer.__struct_fields__)
            raise operations.OperationError(f"--server-optimizer {kind} has {known}, but not --server-{name}")
    return optimizer(**given)


def _read_plan(path: Path) -> Plan:
    if path.suffix != ".toml":
        return decode_plan(path.read_bytes())
    try:
        return decode_plan(msgspec.json.encode(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"{path} is not TOML: {error}") from None
