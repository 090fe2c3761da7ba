"""The command line's front door: a table of contents that loads a folder's commands only when asked for."""

import importlib
from typing import Any, NamedTuple

import click

_OUR_FOLDERS = frozenset(
    {"aggregation_service", "device_runtime", "emulator", "evaluation", "keychorus", "model", "protocol", "tokenizer"}
)


class Entry(NamedTuple):
    """A command that lives elsewhere.

    Attributes:
      target: `module:name` of its click command.
      help: its line in the table of contents.
      role: whose packages it needs: `requirements/<role>.txt`.

    """

    target: str
    help: str
    role: str


CONTENTS: dict[str, dict[str, Entry]] = {
    "See it work": {
        "demo": Entry("emulator.cli:demo", "The whole loop on real text, with a report at its end.", "workstation"),
    },
    "Rehearse it": {
        "emulate": Entry(
            "emulator.cli:emulate", "A fleet and its service, by scenario, in virtual time.", "workstation"
        ),
        "plan": Entry(
            "evaluation.planning.cli:plan", "Hosts, lines, days and batteries for a fleet of any size.", "workstation"
        ),
    },
    "Run a part": {
        "device": Entry("device_runtime.cli:device", "A device: keyboard page, typing log, local training.", "device"),
        "service": Entry("aggregation_service.cli:service", "The server that adds up what devices send.", "service"),
        "privacy": Entry(
            "aggregation_service.commands.privacy:privacy",
            "Whether privacy statements say what the ledger says.",
            "service",
        ),
    },
    "Make and measure": {
        "model": Entry("model.cli:model", "Plans, training graphs and prediction models.", "workstation"),
        "bench": Entry("emulator.bench.cli:bench", "Benchmarks: ours and a reference, in turn.", "workstation"),
        "evaluate": Entry("evaluation.evaluate.cli:evaluate", "Predictors, asked for the same words.", "workstation"),
        "experiment": Entry(
            "evaluation.experiments.cli:experiment", "Which settings predict best, on text of one's own.", "workstation"
        ),
        "rehearse": Entry(
            "evaluation.rehearsal.cli:rehearse", "Codec, attackers, new words: rounds in one process.", "workstation"
        ),
        "simulate": Entry(
            "emulator.simulation.cli:simulate", "Sweeps by TensorFlow Federated, without devices.", "simulation"
        ),
        "audit": Entry("evaluation.audit.cli:audit", "What attacks find, beside what is promised.", "workstation"),
    },
}
"""Headings, and below each its commands, in the order in which they are shown."""


class LazyGroup(click.Group):
    """A group whose help comes from `CONTENTS`, so that showing it imports nothing of what it lists."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the contents."""
        return [name for chapter in CONTENTS.values() for name in chapter]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the folder that holds `cmd_name`."""
        entry = _find(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise _role_lacks(error, cmd_name) from None
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.target} must be a click command, got {type(command).__name__}")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; packages that it imports on the way may be missing too."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            raise _role_lacks(error, ctx.invoked_subcommand or "") from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the contents, chapter by chapter."""
        for heading, chapter in CONTENTS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, entry.help) for name, entry in chapter.items()], col_max=12)


def _find(name: str) -> Entry | None:
    return next((chapter[name] for chapter in CONTENTS.values() if name in chapter), None)


def _role_lacks(error: ModuleNotFoundError, command: str) -> Exception:
    """What to tell a person whose role does not include a package; a missing module of ours is a bug and stays one."""
    package = (error.name or "").partition(".")[0]
    entry = _find(command)
    if entry is None or package in _OUR_FOLDERS:
        return error
    return click.ClickException(
        f"keychorus {command} needs the package {package}, which is not installed here: "
        f"install the {entry.role} role with pip install -r requirements/{entry.role}.txt"
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keychorus", message="keychorus %(version)s")
def main() -> None:
    """Many keyboards, one voice, no words shared.

    Next-word prediction that learns from what people type without their text leaving their devices. Each command below
    explains itself with --help.
    """
