"""`keychorus service release` and `rollback`: what devices predict with."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.commands.shared import NUMBER, clear_errors, config_option
from aggregation_service.config import load_config
from aggregation_service.operations import EvaluationSettings, OperationError
from aggregation_service.storage.releases import ReleaseRecord
from protocol.manifest import decode_manifest

_POPULATION = click.argument("population_name", metavar="POPULATION")
_RELEASE_ID = click.argument("release_id", metavar="RELEASE_ID", type=NUMBER)
_FILES = click.Path(exists=True, file_okay=False, path_type=Path)
_MODEL_VERSION = click.option(
    "--model-version", type=NUMBER, help="Version of the weights released; without: the newest."
)
_ROLLOUT = click.option(
    "--rollout",
    "rollout_percent",
    type=click.IntRange(0, 100),
    default=100,
    show_default=True,
    help="Percent of devices.",
)
_DESPITE_GATE = click.option("--despite-gate", is_flag=True, help="Publish although the policy has a gate.")


@click.group()
def release() -> None:
    """Releases: what devices predict with."""


@release.command("publish")
@_POPULATION
@click.argument("folder", type=_FILES, required=False)
@click.option(
    "--candidate", "release_id", type=NUMBER, help="Publish this proposed or refused release, instead of a folder."
)
@_MODEL_VERSION
@_ROLLOUT
@_DESPITE_GATE
@config_option
def release_publish(
    *,
    population_name: str,
    folder: Path | None,
    release_id: int | None,
    model_version: int | None,
    rollout_percent: int,
    despite_gate: bool,
    config_path: Path,
) -> None:
    """Sign the files of a folder, with the privacy statement of their training, and offer them to devices.

    A file's name without its ending is its name in the release: prediction_model, vocabulary, casing.

    \b
    Examples:
      keychorus service release publish en-gb build/release
      keychorus service release publish en-gb --candidate 7 --despite-gate
    """
    if (folder is None) == (release_id is None):
        raise click.UsageError("either FOLDER or --candidate must be given, and not both")
    with clear_errors():
        config = load_config(config_path)
        if release_id is not None:
            manifest = operations.publish_candidate(
                config, population=population_name, release_id=release_id, despite_gate=despite_gate
            )
        elif folder is not None:
            manifest = operations.publish_release(
                config,
                population=population_name,
                files=_read_release(folder),
                model_version=model_version,
                rollout_percent=rollout_percent,
                despite_gate=despite_gate,
            )
    click.echo(f"released model version {manifest.model_version} to {population_name}: {', '.join(manifest.files)}")


@release.command("propose")
@_POPULATION
@click.argument("folder", type=_FILES)
@_MODEL_VERSION
@_ROLLOUT
@click.option("--report-goal", type=int, help="Devices that evaluate it; without: as many as train.")
@click.option("--minimum-reports", type=int, help="Fewer by the deadline abandon the round; without: as in training.")
@click.option("--clip-norm", "l2_clip_norm", default=100.0, show_default=True, help="L2 norm of a device's seven sums.")
@click.option("--noise-multiplier", type=float, help="Noise on each sum, in clip norms; without: as in training.")
@config_option
def release_propose(
    *,
    population_name: str,
    folder: Path,
    model_version: int | None,
    rollout_percent: int,
    config_path: Path,
    report_goal: int | None,
    minimum_reports: int | None,
    l2_clip_norm: float,
    noise_multiplier: float | None,
) -> None:
    """Sign the files of a folder as a candidate, and let devices evaluate its weights on their own words.

    It is released only if it beats the current release by the margin of the population's policy.

    \b
    Example:
      keychorus service release propose en-gb build/release --rollout 10
    """
    settings = EvaluationSettings(
        report_goal=report_goal,
        minimum_reports=minimum_reports,
        l2_clip_norm=l2_clip_norm,
        noise_multiplier=noise_multiplier,
    )
    with clear_errors():
        made = operations.propose_release(
            load_config(config_path),
            population=population_name,
            files=_read_release(folder),
            model_version=model_version,
            rollout_percent=rollout_percent,
            evaluation=settings,
        )
    waits = "there is no gate: publish it" if made.task_id is None else f"task {made.task_id} evaluates it"
    click.echo(f"release {made.release_id} is a candidate; {waits}")


@release.command("rollout")
@_POPULATION
@_RELEASE_ID
@click.option("--percent", type=click.IntRange(0, 100), required=True, help="Percent of devices that are offered it.")
@config_option
def release_rollout(*, population_name: str, release_id: int, percent: int, config_path: Path) -> None:
    """Offer a release to more of the devices, or to fewer; the others are offered the one before.

    \b
    Example:
      keychorus service release rollout en-gb 7 --percent 20
    """
    with clear_errors():
        operations.set_rollout(
            load_config(config_path), population=population_name, release_id=release_id, percent=percent
        )
    click.echo(f"release {release_id} is offered to {percent} % of the devices of {population_name}")


@release.command("list")
@_POPULATION
@config_option
def release_list(population_name: str, config_path: Path) -> None:
    """List a population's releases, newest first.

    \b
    Example:
      keychorus service release list en-gb
    """
    with clear_errors():
        found = operations.list_releases(load_config(config_path), population_name)
    table = Table(title=f"releases of {population_name}")
    for heading in ("id", "model version", "status", "roll-out", "made", "decision"):
        table.add_column(heading, justify="left" if heading in ("status", "decision") else "right")
    for record in found:
        numbers = (str(record.id), str(record.model_version))
        made = f"{datetime.fromtimestamp(record.created_at, UTC):%Y-%m-%d %H:%M}"
        table.add_row(*numbers, record.status, f"{record.rollout_percent} %", made, record.decision or "")
    Console().print(table)


@release.command("show")
@_POPULATION
@_RELEASE_ID
@config_option
def release_show(population_name: str, release_id: int, config_path: Path) -> None:
    """Show a release as JSON: its manifest, status and decision.

    \b
    Example:
      keychorus service release show en-gb 7
    """
    with clear_errors():
        found = operations.list_releases(load_config(config_path), population_name)
        record = next((record for record in found if record.id == release_id), None)
        if record is None:
            raise OperationError(f"population {population_name} has no release {release_id}")
    click.echo(json.dumps(_shown(record), indent=2))


@click.command()
@_POPULATION
@click.option(
    "--to", type=NUMBER, help="Release to go back to; without: the one before, of those that all were offered."
)
@config_option
def rollback(population_name: str, to: int | None, config_path: Path) -> None:
    """Withdraw the newest release and offer the one before it again, to every device.

    \b
    Example:
      keychorus service rollback en-gb
    """
    with clear_errors():
        made = operations.rollback_release(load_config(config_path), population=population_name, to=to)
    withdrawn = ", ".join(map(str, made.withdrawn_ids))
    click.echo(
        f"withdrew {withdrawn}; release {made.release_id} offers model version {made.manifest.model_version}"
        f" of release {made.target_id} again"
    )


def _shown(record: ReleaseRecord) -> dict[str, object]:
    manifest = decode_manifest(record.manifest.manifest)
    return {
        "id": record.id,
        "status": record.status,
        "rollout_percent": record.rollout_percent,
        "decision": record.decision,
        "model_version": record.model_version,
        "created_at": manifest.created_at,
        "is_rollback": manifest.is_rollback is True,
        "files": {name: {"sha256": entry.sha256, "bytes": entry.size_bytes} for name, entry in manifest.files.items()},
    }


def _read_release(folder: Path) -> dict[str, bytes]:
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and paths.setdefault(path.stem, path) != path:
            raise OperationError(f"{paths[path.stem].name} and {path.name} would both be named {path.stem}")
    return {name: path.read_bytes() for name, path in paths.items()}
