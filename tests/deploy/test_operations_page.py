"""docs/operations.md names what is there: commands, options, reasons, settings and metrics."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aggregation_service.cli import service
from aggregation_service.config import ServiceConfig
from aggregation_service.rounds.state import AbandonReason

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def named_commands() -> list[str]:
    """Everything that the page writes as `keychorus service ...`, in blocks and in lines."""
    joined = PAGE.replace("\\\n", " ")
    blocks = re.findall(r"^ {4}.*?(keychorus service .*)$", joined, flags=re.MULTILINE)
    inline = re.findall(r"`[^`\n]*?(keychorus service [^`]*)`", joined)
    return sorted({re.split(r" \| |; ", command)[0] for command in blocks + inline})


def resolve(words: list[str]) -> tuple[list[str], click.Command, list[str]]:
    """The path of names, the command, and the words that are left for it."""
    found: click.Command = service
    path: list[str] = []
    while isinstance(found, click.Group) and words:
        path.append(words[0])
        found, words = found.commands[words[0]], words[1:]
    return path, found, words


@pytest.mark.parametrize("text", named_commands())
def test_every_command_exists_and_takes_these_options(text: str) -> None:
    path, command, rest = resolve(shlex.split(text)[2:])
    assert not isinstance(command, click.Group), f"{path} wants a subcommand"
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known
    shown = CliRunner().invoke(service, [*path, "--help"])
    assert (shown.exit_code, shown.output.startswith("Usage:")) == (0, True)


def test_commands_were_found_at_all() -> None:
    assert len(named_commands()) > 30
    leaves = {" ".join(resolve(shlex.split(text)[2:])[0]) for text in named_commands()}
    groups = (command if isinstance(command, click.Group) else None for command in service.commands.values())
    offered = {f"{group.name} {name}" for group in groups if group for name in group.commands}
    offered |= {name for name, command in service.commands.items() if not isinstance(command, click.Group)}
    assert leaves == offered, "the manual names every command"


def test_every_reason_has_its_row() -> None:
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE.partition("## Rounds that are abandoned")[2], flags=re.MULTILINE))
    assert rows == {*AbandonReason}


def test_settings_exist_and_have_these_defaults() -> None:
    defaults = {field.name: field.default for field in fields(ServiceConfig)}
    table = PAGE.partition("## Settings")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", table, flags=re.MULTILINE)
    assert len(rows) == 10
    for names, told in rows:
        found = re.findall("`([a-z_]+)`", names)
        assert set(found) <= set(defaults)
        if len(found) == 1 and re.fullmatch(r"[0-9e.-]+", told):
            assert float(told) == defaults[found[0]]


def test_files_and_links_exist() -> None:
    for path in re.findall(r"`((?:deploy|requirements|aggregation_service)/[\w./-]+)", PAGE):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
