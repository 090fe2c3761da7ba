"""The stages of a long job: a progress bar each, and how long each took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[str], None]
"""Marks one unit of a stage as done; the string is shown beside the bar, and an empty one leaves what is there."""


class Stages:
    """Shows and times stages that follow each other.

    Attributes:
      seconds: wall time by stage, in the order in which they ended.

    """

    def __init__(self, console: Console):
        self.seconds: dict[str, float] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def stage(self, name: str, title: str, total: int = 1) -> Iterator[Advance]:
        """Runs one stage.

        Args:
          name: its key in `seconds`.
          title: what a person reads.
          total: how many units it has; one that is never advanced is complete when it ends.

        """
        task = self._progress.add_task(title, total=total, note="")
        started = time.perf_counter()

        def advance(note: str = "") -> None:
            self._progress.advance(task)
            if note:
                self._progress.update(task, note=note)

        yield advance
        self.seconds[name] = time.perf_counter() - started
        self._progress.update(task, completed=total)
