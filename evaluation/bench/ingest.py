"""Reports as a whole cohort sends them: how many updates a second the service accepts and sums, and in what memory.

Real HTTP over loopback to the real service, gunicorn's workers included; every report is signed by an enrolled device.
Whatever devices do on machines of their own is done before the clock starts: training, encoding, hashing, signing. It
stops when all reports but the round's last are acknowledged, and so summed and on the disk. The last one closes the
round, which is told apart: noise, books, the next model version. The reference is what numpy alone needs to unpack and
add up the same bytes, in this process, with one thread.
"""

import contextlib
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console

from aggregation_service import operations
from aggregation_service.config import ServiceConfig
from aggregation_service.policy import PopulationPolicy
from aggregation_service.rounds.optimizer import ServerAverage
from aggregation_service.rounds.parameters import RoundParameters
from evaluation.bench.bench_service import POPULATION, Fleet, Served, SignedRequest, make_service, served
from evaluation.bench.runner import Result, compare, milliseconds, progress
from model.network import FULL, NetworkShape, initial_weights
from protocol.messages import CheckInAnswer, Selected, decode_message
from protocol.plan import Plan, PrivacyParameters, TrainingParameters
from protocol.routes import report
from protocol.signed_requests import sha256_hex
from protocol.update import UPDATE_MEDIA_TYPE, UpdateFormat, decode_update, encode_update, read_update
from protocol.weights import flatten

NAME = "ingest"
_DISTINCT_UPDATES = 4
_UPDATE_NORM = 0.9
_CLIP_NORM = 1.0
_NOISE_MULTIPLIER = 0.1
_BUDGET = PopulationPolicy(enrolment="open", epsilon_budget=1000.0)
_TOLERANCE = 0.6
"""Of a count, in updates: more than five standard deviations of the noise, C·z / norm = 0.11."""
_ROUND_WITHIN_S = 60.0
_POLL_S = 0.02


class WrongSum(Exception):
    """The model that a round left is not the sum of the reports that the service acknowledged."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured.

    Attributes:
      shape: of the network.
      reports: that count of a round, each from another device; one round is one measurement.
      connections: devices that send at the same time.
      workers: gunicorn's.
      update_format: of the reports.
      database_url: an empty PostgreSQL database, or None for SQLite.
      seed: of weights and updates.

    """

    shape: NetworkShape = FULL
    reports: int = 300
    connections: int = 24
    workers: int = 2
    update_format: UpdateFormat = "int16"
    database_url: str | None = None
    seed: int = 0

    @property
    def cohort(self) -> int:
        """Devices of a round: those whose reports count, and one that closes it."""
        return self.reports + 1

    def plan(self) -> Plan:
        """A round with noise, but little: see `InService._check_sum`."""
        return Plan(
            tensors=self.shape.tensors,
            training=TrainingParameters(
                batch_size=16, sequence_length=12, local_epochs=1, learning_rate=0.1, max_words=1000
            ),
            privacy=PrivacyParameters(
                l2_clip_norm=_CLIP_NORM,
                noise_multiplier=_NOISE_MULTIPLIER,
                report_goal=self.cohort,
                minimum_separation_s=0.0,
            ),
            update_format=self.update_format,
        )

    def bodies(self) -> list[bytes]:
        """A few distinct updates, encoded."""
        generator = np.random.default_rng(self.seed)
        drawn = generator.normal(size=(_DISTINCT_UPDATES, self.shape.num_weights))
        drawn *= _UPDATE_NORM / np.linalg.norm(drawn, axis=1, keepdims=True)
        return [encode_update(update.astype(np.float32), self.update_format) for update in drawn]


class InService:
    """Our side: rounds of the real service. A turn is a round, from its first byte sent to its last receipt but one.

    Attributes:
      close_ms: of each round: from its last report to the next model version.

    """

    def __init__(self, service: Served, fleet: Fleet, setting: Setting) -> None:
        self._service = service
        self._fleet = fleet
        self._setting = setting
        self._bodies = [(body, sha256_hex(body)) for body in setting.bodies()]
        self._connections: SimpleQueue[HTTPConnection] = SimpleQueue()
        self.close_ms: list[float] = []

    def run(self) -> float:
        """Milliseconds an update.

        Raises:
          ServiceFailed, WrongSum: see there.

        """
        version, before = operations.current_checkpoint(self._service.config, POPULATION)
        with self._connected(), ThreadPoolExecutor(self._setting.connections) as callers:
            cohort = list(callers.map(self._select, self._fleet.device_ids))
            *requests, last = [self._prepare(index, selected) for index, selected in enumerate(cohort)]
            started = time.perf_counter()
            list(callers.map(self._send, requests))
            acknowledged = time.perf_counter()
            self._send(last)
            self._wait_for_version(version + 1)
            self.close_ms.append(1e3 * (time.perf_counter() - acknowledged))
        self._check_sum(flatten(before, self._setting.shape.tensors))
        return 1e3 * (acknowledged - started) / len(requests)

    def _select(self, device_id: str) -> tuple[str, Selected]:
        deadline = time.monotonic() + _ROUND_WITHIN_S
        while time.monotonic() < deadline:
            body = self._send(self._fleet.check_in(device_id))
            answer: CheckInAnswer = decode_message(body, CheckInAnswer)  # type: ignore[arg-type]  # a union is no type
            if isinstance(answer, Selected):
                return device_id, answer
            time.sleep(_POLL_S)  # the next round does not stand yet
        raise self._service.failed(f"a device must be selected within {_ROUND_WITHIN_S:.0f} s")

    def _prepare(self, index: int, cohort: tuple[str, Selected]) -> SignedRequest:
        device_id, selected = cohort
        body, body_sha256 = self._bodies[index % len(self._bodies)]
        headers = {"Content-Type": UPDATE_MEDIA_TYPE, "Authorization": f"Bearer {selected.assignment_token}"}
        path = report(selected.round_id, selected.assignment_id)
        request = SignedRequest(method="PUT", path=path, headers=headers, body=body)
        return self._fleet.sign(request, device_id, body_sha256)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """New connections for each round, for the service closes those that are silent for long."""
        with contextlib.ExitStack() as stack:
            self._connections = SimpleQueue()
            for _ in range(self._setting.connections):
                self._connections.put(stack.enter_context(contextlib.closing(self._service.connect())))
            yield

    def _send(self, request: SignedRequest) -> bytes:
        connection = self._connections.get()
        try:
            return self._service.ask(connection, request)
        finally:
            self._connections.put(connection)

    def _wait_for_version(self, version: int) -> None:
        deadline = time.monotonic() + _ROUND_WITHIN_S
        while operations.current_version(self._service.config, POPULATION) < version:
            if time.monotonic() > deadline:
                raise self._service.failed(f"a round with all its reports must close within {_ROUND_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)

    def _check_sum(self, before: npt.NDArray[np.float32]) -> None:
        """Counts how often each distinct update is in the sum: its projection on the update, whose noise is a ninth."""
        setting = self._setting
        sent = Counter(index % len(self._bodies) for index in range(setting.cohort))
        _, weights = operations.current_checkpoint(self._service.config, POPULATION)
        total = setting.cohort * (flatten(weights, setting.shape.tensors).astype(np.float64) - before)
        drawn = np.stack([decode_update(body, total.size, setting.update_format) for body, _ in self._bodies])
        counted, *_ = np.linalg.lstsq(drawn.T.astype(np.float64), total, rcond=None)
        for index, count in enumerate(counted):
            if abs(count - sent[index]) > _TOLERANCE:
                raise WrongSum(f"update {index} must be in the sum {sent[index]} times, got {count:.2f}")


class InNumpy:
    """The reference: the same bytes, unpacked and added up by numpy."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._bodies = setting.bodies()

    def run(self) -> float:
        """Milliseconds an update."""
        total = np.zeros(self._setting.shape.num_weights)

        def add_all() -> None:
            for body in self._bodies:
                values, scale = read_update(body, total.size, self._setting.update_format)
                np.add(total, values * np.float64(scale), out=total)

        return milliseconds(add_all, times=10) / len(self._bodies)


def run(setting: Setting, *, repeats: int, console: Console) -> Result:
    """Measures rounds of the service, and numpy in turn with them; the figure is milliseconds an update.

    Args:
      setting: what is measured.
      repeats: rounds that count, after one that does not.
      console: shows the progress.

    Raises:
      ServiceFailed, WrongSum: see there.

    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keychorus-bench-")))
        with console.status("making a service"):
            config = make_service(folder, setting.database_url)
            create_task(config, setting)
            fleet = Fleet(config, folder, setting.cohort)
            service = stack.enter_context(served(config, folder, workers=setting.workers))
        ours = InService(service, fleet, setting)
        on_turn = stack.enter_context(progress(NAME, repeats + 1, console))
        result = compare(NAME, "ms an update", ours, InNumpy(setting), repeats=repeats, on_turn=on_turn)
        return _detailed(result, setting, service.peak_mb(), statistics.median(ours.close_ms))


def create_task(config: ServiceConfig, setting: Setting, *, is_first: bool = True) -> None:
    """Gives the population a task whose rounds have a noise budget, and end with their last report.

    Args:
      config: of the service.
      setting: of the rounds.
      is_first: whether it begins with new weights; else it goes on from the newest.

    """
    operations.set_policy(config, POPULATION, _BUDGET)
    operations.create_task(
        config,
        population=POPULATION,
        plan=setting.plan(),
        training_graph=b"not trained with here",
        checkpoint=initial_weights(setting.shape, setting.seed) if is_first else None,
        parameters=RoundParameters(minimum_reports=1, over_selection=1.0),
        optimizer=ServerAverage(),
    )


def _detailed(result: Result, setting: Setting, peak_mb: float, close_ms: float) -> Result:
    """Adds what people ask for: rates, bytes and memory."""
    rates = [1e3 / value for value in result.ours.values]
    body_bytes = len(setting.bodies()[0])
    details: dict[str, str | int | float] = {
        "updates_a_second": round(1e3 / result.value, 1),
        "slowest_round": round(min(rates), 1),
        "quickest_round": round(max(rates), 1),
        "megabytes_a_second": round(body_bytes * 1e-3 / result.value, 1),
        "peak_worker_mb": round(peak_mb, 1),
        "close_ms": round(close_ms),
        "workers": setting.workers,
        "reports_a_round": setting.reports,
        "connections": setting.connections,
        "update_bytes": body_bytes,
        "database": "SQLite" if setting.database_url is None else "PostgreSQL",
    }
    return msgspec.structs.replace(result, details=details)
