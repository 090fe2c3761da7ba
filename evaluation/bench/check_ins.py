"""Waiting devices that poll: how long a check-in takes while thousands of devices call at the steered pace.

Each virtual device waits as long as the service told it, in real time, and calls over a new connection, as devices
that sleep for minutes do. A call is timed from when it was due: whoever lags behind, client or service, makes the
figures worse and not fewer. A selected device keeps its place until its report was due, and sends none.
"""

import asyncio
import contextlib
import heapq
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from aggregation_service import operations
from aggregation_service.config import ServiceConfig
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.pace import reconnect_after_s
from aggregation_service.rounds.parameters import RoundParameters
from evaluation.bench.bench_service import (
    POPULATION,
    Fleet,
    Served,
    ServiceFailed,
    SignedRequest,
    make_service,
    served,
)
from evaluation.bench.runner import progress
from model.network import SMALL, initial_weights
from protocol.messages import CheckInAnswer, Selected, decode_message
from protocol.plan import Plan, PrivacyParameters, TrainingParameters

NAME = "check-ins"
LIMIT_P99_MS = 100.0
_ANSWER_WITHIN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured.

    Attributes:
      devices: that wait.
      seconds: of polling.
      report_goal: of a round; decides with `devices` whether calls are gathered or spread.
      beat_s: how often a round may begin.
      calls_per_second: calls at this even pace instead of the steered one; None for the steered one.
      workers: gunicorn's.
      database_url: an empty PostgreSQL database, or None for SQLite.
      seed: of the first calls' times.

    """

    devices: int = 5000
    seconds: float = 120.0
    report_goal: int = 300
    beat_s: float = 60.0
    calls_per_second: float | None = None
    workers: int = 2
    database_url: str | None = None
    seed: int = 0

    @property
    def parameters(self) -> RoundParameters:
        """Of the rounds, with the default over-selection."""
        return RoundParameters(minimum_reports=1, selection_timeout_s=self.beat_s)

    def first_wait_s(self, generator: random.Random) -> float:
        """A time for a device's first call, as if it had been told one some time ago."""
        steered_s = reconnect_after_s(
            now=time.time(),
            beat_s=self.beat_s,
            cohort_size=self.parameters.cohort_size(self.report_goal),
            population_size=self.devices,
            jitter=generator.random(),
        )
        return steered_s * generator.random()


class Latencies(msgspec.Struct, frozen=True, kw_only=True):
    """How long check-ins took; `value` is the 99th percentile, in milliseconds.

    Attributes:
      name: of the benchmark.
      value: the 99th percentile.
      unit: of `value`, `reference` and the percentiles.
      reference: what `value` must stay below.
      ratio: `value` over `reference`: below 1 is good.
      p50_ms: median.
      max_ms: the slowest.
      calls: check-ins made.
      calls_a_second: over the whole run.
      busiest_second: most calls that were due in one second.
      selected: calls that were answered by a place in a cohort.
      details: settings that bear on the figures.

    """

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    p50_ms: float
    max_ms: float
    calls: int
    calls_a_second: float
    busiest_second: int
    selected: int
    details: dict[str, str | int | float]


@dataclass
class Polling:
    """A population that polls: who is due when, and what was measured."""

    service: Served
    fleet: Fleet
    setting: Setting
    due: list[tuple[float, str]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    due_in_second: list[int] = field(default_factory=list)
    selected: int = 0

    async def run(self, on_second: Callable[[], None]) -> None:
        """Polls for as long as the setting says.

        Args:
          on_second: called once a second, for a progress bar.

        Raises:
          ServiceFailed: an answer other than 200, or none.

        """
        started = time.monotonic()
        self.due = list(self._first_calls(started))
        heapq.heapify(self.due)
        self.due_in_second = [0] * math.ceil(self.setting.seconds)
        async with asyncio.TaskGroup() as calls:
            for second in range(math.ceil(self.setting.seconds)):
                until = started + min(second + 1, self.setting.seconds)
                while (at := self.due[0][0] if self.due else until) < until:
                    await asyncio.sleep(max(at - time.monotonic(), 0.0))
                    calls.create_task(self._call(*heapq.heappop(self.due)))
                    self.due_in_second[second] += 1
                await asyncio.sleep(max(until - time.monotonic(), 0.0))
                on_second()

    def _first_calls(self, started: float) -> Iterator[tuple[float, str]]:
        generator = random.Random(self.setting.seed)  # noqa: S311  # when a made-up device calls is no secret
        pace = self.setting.calls_per_second
        for index, device_id in enumerate(self.fleet.device_ids):
            wait_s = self.setting.first_wait_s(generator) if pace is None else index / pace
            yield started + wait_s, device_id

    async def _call(self, due_at: float, device_id: str) -> None:
        request = self.fleet.check_in(device_id)
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                body = await self._ask(request)
        except (OSError, asyncio.IncompleteReadError) as error:  # a timeout is an OSError
            raise self.service.failed(f"a check-in was not answered: {type(error).__name__}") from None
        self.milliseconds.append(1e3 * (time.monotonic() - due_at))
        heapq.heappush(self.due, (self._next_call_at(body, due_at), device_id))

    async def _ask(self, request: SignedRequest) -> bytes:
        """One request over a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        try:
            headers = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(request.body))}
            lines = [f"{name}: {value}\r\n" for name, value in {**headers, **request.headers}.items()]
            writer.write(f"{request.method} {request.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + request.body)
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode()
        if status != "200":
            raise self.service.failed(f"a check-in must be answered 200, got {status!r}: {body[:200].decode()}")
        return body

    def _next_call_at(self, body: bytes, due_at: float) -> float:
        answer: CheckInAnswer = decode_message(body, CheckInAnswer)  # type: ignore[arg-type]  # a union is no type
        self.selected += isinstance(answer, Selected)
        if self.setting.calls_per_second is not None:
            return due_at + self.setting.devices / self.setting.calls_per_second
        return time.monotonic() + (answer.report_within_s if isinstance(answer, Selected) else answer.reconnect_after_s)


def run(setting: Setting, *, console: Console) -> Latencies:
    """Measures.

    Args:
      setting: what is measured.
      console: shows the progress.

    Raises:
      ServiceFailed: see there.

    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keychorus-bench-")))
        with console.status("making a service"):
            config = make_service(folder, setting.database_url)
            _create_task(config, setting)
            polling = Polling(
                fleet=Fleet(config, folder, setting.devices),
                service=stack.enter_context(served(config, folder, workers=setting.workers)),
                setting=setting,
            )
        on_second = stack.enter_context(progress(NAME, math.ceil(setting.seconds), console))
        try:
            asyncio.run(polling.run(on_second))
        except* ServiceFailed as failures:
            raise failures.exceptions[0] from None
    return _latencies(polling)


def print_latencies(result: Latencies, console: Console) -> None:
    """Prints a result as a table."""
    table = Table(title=result.name, title_justify="left")
    for column in ("calls", "calls/s", "busiest second", "p50, ms", "p99, ms", "slowest, ms", "limit of p99, ms"):
        table.add_column(column, justify="right")
    figures = (result.p50_ms, result.value, result.max_ms, result.reference)
    table.add_row(
        str(result.calls),
        f"{result.calls_a_second:.1f}",
        str(result.busiest_second),
        *(f"{figure:.1f}" for figure in figures),
    )
    console.print(table)
    console.print(", ".join(f"{name}: {value}" for name, value in result.details.items()), style="dim")


def _latencies(polling: Polling) -> Latencies:
    setting, taken = polling.setting, polling.milliseconds
    if not taken:
        raise polling.service.failed(f"no device called within {setting.seconds} s, which is too short for this pace")
    p50, p99 = np.percentile(taken, [50, 99])
    return Latencies(
        name=f"{NAME} p99",
        value=float(p99),
        unit="ms",
        reference=LIMIT_P99_MS,
        ratio=float(p99) / LIMIT_P99_MS,
        p50_ms=float(p50),
        max_ms=max(taken),
        calls=len(taken),
        calls_a_second=len(taken) / setting.seconds,
        busiest_second=max(polling.due_in_second),
        selected=polling.selected,
        details={
            "devices": setting.devices,
            "pace": "steered" if setting.calls_per_second is None else "even",
            "report_goal": setting.report_goal,
            "beat_s": setting.beat_s,
            "seconds": setting.seconds,
            "workers": setting.workers,
            "database": "SQLite" if setting.database_url is None else "PostgreSQL",
        },
    )


def _create_task(config: ServiceConfig, setting: Setting) -> None:
    operations.create_task(
        config,
        population=POPULATION,
        plan=Plan(
            tensors=SMALL.tensors,
            training=TrainingParameters(
                batch_size=16, sequence_length=12, local_epochs=1, learning_rate=0.1, max_words=1000
            ),
            privacy=PrivacyParameters(
                l2_clip_norm=1.0, noise_multiplier=0.0, report_goal=setting.report_goal, minimum_separation_s=0.0
            ),
        ),
        training_graph=b"not trained with here",
        checkpoint=initial_weights(SMALL, setting.seed),
        parameters=setting.parameters,
        optimizer=ServerAverage(),
    )
