"""An audit's report: JSON, a page of its own, tables in the terminal."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.audit.membership import MembershipArm
from evaluation.audit.outcome import Audit, encode_audit
from evaluation.audit.plots import draw_canaries, draw_exposures, draw_words
from evaluation.audit.reconstruction import Reconstruction
from evaluation.audit.secret_sharer import SecretSharerArm
from evaluation.numbers import number, percent
from evaluation.pages import render, write_both

NAME = "audit"


class Section(NamedTuple):
    """A table: its title, columns, and rows whose first cell is their name."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def write_audit(audit: Audit, folder: Path) -> tuple[Path, Path]:
    """Writes `audit.json` and a self-contained `audit.html` into `folder`; returns both paths."""
    return write_both(folder, NAME, payload=encode_audit(audit), page=render_audit(audit))


def render_audit(audit: Audit) -> str:
    """The page as one HTML file that asks for nothing from outside."""
    words, phrases = audit.reconstruction, audit.secret_sharer
    return render(
        "audit.html",
        audit=audit,
        words_table=words and words_section(words),
        weighed_table=words and weighed_section(words),
        words_plot=words and draw_words(words.views),
        phrases_table=phrases and phrases_section(phrases),
        phrases_top=phrases and math.log2(phrases[0].exposures[0].ranked),
        phrases_plot=phrases and draw_exposures(phrases),
        canaries_table=audit.membership and canaries_section(audit.membership),
        canaries_plots=[(arm, draw_canaries(place, arm)) for place, arm in enumerate(audit.membership)],
        seed=audit.seed,
        software=audit.software,
        json_name=f"{NAME}.json",
    )


def print_audit(audit: Audit, console: Console) -> None:
    """Prints a table for each attack."""
    for section in sections(audit):
        table = Table(
            title=section.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for place, column in enumerate(section.columns):
            table.add_column(column.replace(" ", "\n"), justify="right" if place else "left", no_wrap=place > 0)
        for row in section.rows:
            table.add_row(*row)
        console.print(table)


def sections(audit: Audit) -> Iterator[Section]:
    """The tables of what was asked for."""
    if audit.reconstruction is not None:
        yield words_section(audit.reconstruction)
        yield weighed_section(audit.reconstruction)
    if audit.secret_sharer:
        yield phrases_section(audit.secret_sharer)
    if audit.membership:
        yield canaries_section(audit.membership)


def words_section(found: Reconstruction) -> Section:
    """A row for each view."""
    columns = ("seen", "named", "precision", "of group", "recall", "guess’s precision", "guess’s recall")
    rows = [
        (
            view.view,
            f"{view.named:.0f}",
            percent(view.precision),
            percent(view.precision_of_group),
            percent(view.recall),
            percent(view.precision_of_guess),
            percent(view.recall_of_guess),
        )
        for view in found.views
    ]
    return Section(f"Words of {found.devices} devices, {found.typed:.0f} of {found.words} each", columns, rows)


def weighed_section(found: Reconstruction) -> Section:
    """A row for each view, by the attack that knows how frequent words are."""
    columns = (
        "seen",
        "named",
        "precision",
        "recall",
        "guess’s precision",
        "guess’s recall",
        "times right",
        "times found",
    )
    rows = [
        (
            view.view,
            f"{view.weighed.named:.0f}",
            percent(view.weighed.precision),
            percent(view.weighed.recall),
            percent(view.weighed.precision_of_guess),
            percent(view.weighed.recall_of_guess),
            percent(view.weighed.precision_of_times),
            percent(view.weighed.recall_of_times),
        )
        for view in found.views
    ]
    return Section("The same, weighed by how frequent words are", columns, rows)


def phrases_section(arms: Sequence[SecretSharerArm]) -> Section:
    """A row for each model: mean exposure in bits, and how many phrases came first."""
    kinds = tuple(f"{each.devices}×{each.copies}" for each in arms[0].exposures)
    rows = [
        (
            arm.name,
            "" if arm.noise_multiplier is None else number(arm.epsilon),
            percent(arm.top1),
            *(f"{each.mean:.1f} ({each.first})" for each in arm.exposures),
        )
        for arm in arms
    ]
    return Section(
        f"Planted phrases: exposure in bits (first of {len(arms[0].exposures[0].ranks)})",
        ("model", "proven ε", "top-1", *kinds),
        rows,
    )


def canaries_section(arms: Sequence[MembershipArm]) -> Section:
    """A row for each mechanism and adversary."""
    columns = ("noise", "adversary sees", "mean", "ε estimated", "ε fitted bound", "ε counted bound", "ε proven")
    rows = [
        (
            arm.name,
            found.sees,
            f"{found.mean:.2f}",
            f"{found.estimate:.2f}",
            f"{found.fitted:.2f}",
            f"{found.counted:.2f}",
            f"{arm.proven:.2f}",
        )
        for arm in arms
        for found in arm.found
    ]
    return Section(f"Canary devices, {arms[0].canaries} in one run", columns, rows)
