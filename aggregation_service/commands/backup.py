"""`keychorus service backup` and `restore`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from aggregation_service import backup as backups
from aggregation_service.audit import machine_actor
from aggregation_service.commands.shared import FOLDER, clear_errors, config_option, database_url_option
from aggregation_service.config import load_config
from aggregation_service.storage import dumps

LOST = """\
Nothing after {time} is known to it. Devices report again, but what operators did must be done again:
  - tasks, releases and policies of that time
  - above all: devices revoked, tokens spent or revoked, operators disabled, passwords changed
Never start the old service beside this one, and never restore twice for training: what either spends, the other's
ledger does not know."""


@click.command()
@click.argument("folder", type=FOLDER)
@config_option
def backup(folder: Path, config_path: Path) -> None:
    """Back the service up into FOLDER, while it runs.

    FOLDER must be new or empty. It gets the database, the configuration, the signing key and all other files that the
    configuration names: whoever can read it can sign as this service, so keep it as secret as the service's own folder.
    With PostgreSQL, `pg_dump` of the server's version must be installed.

    \b
    Example:
      keychorus service backup /backups/keychorus-2027-03-01 --config /srv/keychorus/service.toml
    """
    with clear_errors(), _progress("database") as progress:
        manifest = backups.backup(load_config(config_path), folder, actor=machine_actor(), progress=progress)
    size = sum(entry.size_bytes for entry in manifest.files.values())
    click.echo(f"backed up to {folder}: {len(manifest.files)} files, {size / 1e6:.1f} MB")


@click.command()
@click.argument("source", metavar="BACKUP", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=FOLDER)
@click.option(
    "--add-lost-rounds",
    "lost_rounds",
    type=click.IntRange(min=0),
    required=True,
    help="Rounds of any one population that may have closed after the backup; rather too many than too few.",
)
@database_url_option
def restore(source: Path, folder: Path, lost_rounds: int, database_url: str | None) -> None:
    """Make a service in FOLDER from a BACKUP; nothing is overwritten, and nothing is started.

    Privacy that was spent after the backup stays spent, though its ledger does not know it. So say how many rounds may
    have closed since: the log's `round_closed` lines tell, or the time since then divided by the time of a round. Each
    population's ledger is charged for so many at the least noise of its tasks, its model versions go on after as many,
    and its devices' minimum separation begins anew. 0 says that none closed. A task with less noise that was created
    after the backup is not known: add more rounds for it.

    Rounds that were open at the backup are abandoned, for the keys of their sums were never on a disk.

    With PostgreSQL the database must exist without tables, and `pg_restore` must be installed; without --database-url
    it is the one that the backup names. A backup of SQLite, too, can be restored into PostgreSQL: so a service grows
    from one machine to several.

    \b
    Examples:
      keychorus service restore /backups/keychorus-2027-03-01 /srv/keychorus --add-lost-rounds 24
      keychorus service restore /backups/before-the-move /srv/keychorus --add-lost-rounds 0 \\
          --database-url postgresql://keychorus@db.example.org/keychorus
    """
    with clear_errors(), _progress("database") as progress:
        restored = backups.restore(
            source,
            folder,
            lost_rounds=lost_rounds,
            database_url=database_url,
            actor=machine_actor(),
            progress=progress,
        )
    time = datetime.fromtimestamp(restored.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    click.echo(f"restored {restored.config_path}, as it was at {time}")
    click.echo(f"open rounds abandoned: {len(restored.abandoned)}")
    charged = ", ".join(restored.charged) or "nobody"
    click.echo(f"privacy budget of {lost_rounds} lost rounds charged to: {charged}")
    click.echo(LOST.format(time=time))


@contextmanager
def _progress(what: str) -> Iterator[dumps.Progress]:
    """A bar on the terminal's error stream, gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield tell
