"""Measures unit costs: rounds of the real service over HTTP, phase by phase, with what each phase took.

Real gunicorn, real PostgreSQL, full-size updates of devices that sign, as `keychorus bench ingest` sends them, and its
check that each round's model is the sum of its reports. Sizes take turns; the first turn does not count.
"""

import contextlib
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from aggregation_service import operations
from aggregation_service.config import ServiceConfig
from aggregation_service.storage.database import Database
from evaluation.bench.bench_service import POPULATION, Fleet, Served, SignedRequest, make_service, served
from evaluation.bench.ingest import InService, Setting, create_task
from evaluation.bench.measured_client import measure_client
from evaluation.bench.measured_service import measure_service
from evaluation.bench.runner import progress
from evaluation.bench.secure_session import Setting as SecureSetting
from evaluation.bench.train_step import OnDevice, in_tensorflow
from evaluation.bench.train_step import Setting as StepSetting
from evaluation.planning.costs import PHASES, Costs, Phase, PhaseName, Run, SecureCosts, Use
from evaluation.planning.counters import Counters, children, cpu_seconds, forget_peaks
from model.network import FULL, NetworkShape
from protocol.manifest import decode_manifest
from protocol.messages import Selected
from protocol.routes import file
from protocol.weights import flatten

_LEADERS_STAGES = frozenset({"unmask", "decode_sum"})
_CLIENT_REPEATS = 3
_STEP_TURNS = 5
_MOST_WAITING = 128
_ROUND_WITHIN_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is measured.

    Attributes:
      database_url: an empty PostgreSQL database on this machine.
      sizes: cohorts, at least two different ones.
      rounds: of each size that count.
      shape: of the network.
      connections: callers at the same time.
      workers: gunicorn's.
      idle_s: how long the service is watched while nobody calls.
      group_size: of a session of secure aggregation.
      value_bits: of its masked weights.
      machine: what machine this is and what else it does, in words.
      command: that asked for it.

    Raises:
      ValueError: too few sizes, or one below 2.

    """

    database_url: str
    sizes: Sequence[int] = (32, 128, 512)
    rounds: int = 3
    shape: NetworkShape = FULL
    connections: int = 16
    workers: int = 2
    idle_s: float = 5.0
    group_size: int = 128
    value_bits: int = 12
    machine: str = "unnamed"
    command: str = "keychorus plan measure"

    def __post_init__(self) -> None:
        if len(set(self.sizes)) < 2 or min(self.sizes) < 2:
            raise ValueError(f"sizes must be at least 2 different ones of at least 2 devices, got {list(self.sizes)}")

    @property
    def turns(self) -> int:
        """Steps of a progress bar: rounds, the ones that do not count included."""
        return len(self.sizes) * (self.rounds + 1)


class MeasuredRounds(InService):
    """Rounds in phases, with what each took."""

    def __init__(self, service: Served, fleet: Fleet, setting: Setting, counters: Counters) -> None:
        super().__init__(service, fleet, setting)
        self._counters = counters
        self._messages: list[tuple[int, int]] = []  # bytes sent and answered; threads may append

    def phases(self) -> dict[PhaseName, Phase]:
        """One round.

        Raises:
          ServiceFailed, WrongSum: see there.

        """
        version, before = operations.current_checkpoint(self._service.config, POPULATION)
        found: dict[PhaseName, Phase] = {}
        first, *others = self._fleet.device_ids[: self._setting.cohort]
        waiting = self._fleet.device_ids[self._setting.cohort :]
        with self._connected(), ThreadPoolExecutor(self._setting.connections) as callers:
            selected = [self._select(first)]  # which also waits until the round stands
            with self._phase("check_in", len(others), found):
                selected += callers.map(self._select, others)
            with self._phase("wait", len(waiting), found):
                list(callers.map(lambda each: self._send(self._fleet.check_in(each)), waiting))
            with self._phase("download", len(selected), found):
                list(callers.map(self._download, (answer for _, answer in selected)))
            *requests, last = [self._prepare(index, each) for index, each in enumerate(selected)]
            with self._phase("report", len(requests), found):
                list(callers.map(self._send, requests))
            with self._phase("close", 1, found):
                self._send(last)
                self._wait_for_version(version + 1)
        self._check_sum(flatten(before, self._setting.shape.tensors))
        return found

    def idle(self, seconds: float) -> Use:
        """What the service takes while nobody calls."""
        before = self._so_far()
        time.sleep(seconds)
        return _difference(self._so_far(), before)

    def _download(self, selected: Selected) -> None:
        """What a device downloads that holds the base: the difference, or the base itself in the first round."""
        files = decode_manifest(selected.manifest.manifest).files
        entry = files.get("checkpoint_difference") or files["checkpoint"]
        self._send(SignedRequest(method="GET", path=file(entry.sha256), headers={}, body=b""))

    def _wait_for_version(self, version: int) -> None:
        """As its parent's, over a connection that is open: making one costs the database more than a round's end."""
        deadline = time.monotonic() + _ROUND_WITHIN_S
        while self._counters.model_version(POPULATION) < version:
            if time.monotonic() > deadline:
                raise self._service.failed(f"a round with all its reports must close within {_ROUND_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)

    def _send(self, request: SignedRequest) -> bytes:
        answer = super()._send(request)
        headers = sum(len(name) + len(value) + 4 for name, value in request.headers.items())
        sent = len(request.method) + len(request.path) + headers + len(request.body)
        self._messages.append((sent, len(answer)))
        return answer

    @contextlib.contextmanager
    def _phase(self, name: PhaseName, count: int, found: dict[PhaseName, Phase]) -> Iterator[None]:
        before = self._so_far()
        yield
        found[name] = Phase(count=count, use=_difference(self._so_far(), before))

    def _so_far(self) -> Use:
        pid = self._service.pid
        return Use(
            seconds=time.perf_counter(),
            cpu_s=cpu_seconds([pid, *children(pid)]),
            database_cpu_s=self._counters.database_cpu_s(),
            commits=self._counters.commits(),
            log_bytes=self._counters.log_bytes(),
            bytes_in=sum(sent for sent, _ in self._messages),
            bytes_out=sum(answered for _, answered in self._messages),
        )


def run(choices: Choices, *, console: Console) -> Costs:
    """Measures everything.

    Args:
      choices: what is measured.
      console: shows the progress.

    Raises:
      ServiceFailed, WrongSum, NoCosts: see there.

    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keychorus-plan-")))
        with console.status("making a service"):
            config = make_service(folder, choices.database_url)
        counters = Counters(stack.enter_context(contextlib.closing(Database(config.database_url))))
        with progress("rounds", choices.turns, console) as on_turn:
            runs = _measure(config, folder, choices, counters, on_turn)
        stored = counters.stored()
    with console.status("secure aggregation, and a training step"):
        secure, step_s = measure_secure(choices), measure_step(choices.shape)
    return Costs(
        command=choices.command,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=choices.machine,
        num_weights=choices.shape.num_weights,
        connections=choices.connections,
        step_s=step_s,
        runs=tuple(runs),
        secure=secure,
        stored=stored,
    )


def measure_secure(choices: Choices) -> SecureCosts:
    """One group of secure aggregation, in processes of their own, as `keychorus bench secure-aggregation`."""
    setting = SecureSetting(
        num_members=choices.group_size, vector_length=choices.shape.num_weights, value_bits=choices.value_bits
    )
    service, client = measure_service(setting), measure_client(setting, repeats=_CLIENT_REPEATS)
    leader_cpu_s = sum(cpu_s for stage, cpu_s in service.cpu_s_by_stage.items() if stage in _LEADERS_STAGES)
    return SecureCosts(
        members=choices.group_size,
        value_bits=choices.value_bits,
        member_cpu_s=service.cpu_s - leader_cpu_s,
        leader_cpu_s=leader_cpu_s,
        device_cpu_s=client.cpu_s.median,
        bytes_in=service.bytes_up,
        bytes_out=service.bytes_down,
    )


def measure_step(shape: NetworkShape) -> float:
    """CPU seconds of a training step on this machine's TFLite runtime, the least of some turns."""
    setting = StepSetting(shape=shape)
    with in_tensorflow(setting) as tensorflow:
        device = OnDevice(tensorflow.graph, setting, None)
    taken = []
    for _ in range(_STEP_TURNS):
        started = time.process_time()
        device.run()
        taken.append((time.process_time() - started) / setting.steps_per_turn)
    return min(taken)


def _measure(
    config: ServiceConfig, folder: Path, choices: Choices, counters: Counters, on_turn: Callable[[], None]
) -> list[Run]:
    """Rounds of all sizes in turn, so that a machine's moods hit all alike; each size has devices of its own."""
    settings = {size: _setting(choices, size) for size in sorted(set(choices.sizes))}
    fleets = {size: _fleet(config, folder / str(size), size) for size in settings}
    found: dict[int, list[dict[PhaseName, Phase]]] = {size: [] for size in settings}
    peaks = dict.fromkeys(settings, 0)
    create_task(config, next(iter(settings.values())))
    with served(config, folder, workers=choices.workers) as service:
        for _ in range(choices.rounds + 1):
            for size, setting in settings.items():
                create_task(config, setting, is_first=False)
                forget_peaks(service.workers())
                found[size].append(MeasuredRounds(service, fleets[size], setting, counters).phases())
                peaks[size] = max(peaks[size], round(service.peak_mb() * 1e6))
                on_turn()
        idle = MeasuredRounds(service, fleets[size], setting, counters).idle(choices.idle_s)
    return [
        Run(
            cohort=size,
            rounds=choices.rounds,
            phases=_added(rounds[1:]),
            idle=idle,
            peak_worker_bytes=peaks[size],
        )
        for size, rounds in found.items()
    ]


def _setting(choices: Choices, size: int) -> Setting:
    connections = min(choices.connections, size)
    return Setting(shape=choices.shape, reports=size - 1, connections=connections, workers=choices.workers)


def _fleet(config: ServiceConfig, folder: Path, size: int) -> Fleet:
    """A cohort, and devices that come too late for it."""
    folder.mkdir()
    return Fleet(config, folder, size + min(size, _MOST_WAITING))


def _added(rounds: Sequence[dict[PhaseName, Phase]]) -> dict[PhaseName, Phase]:
    return {
        name: Phase(
            count=sum(each[name].count for each in rounds),
            use=sum((each[name].use for each in rounds), Use()),
        )
        for name in PHASES
    }


def _difference(after: Use, before: Use) -> Use:
    return after + before.times(-1)
