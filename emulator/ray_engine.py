"""Training on a Ray cluster: whatever says nothing to the service is done on whichever node has a processor free.

Devices travel as bytes (`emulator.carrying`), so nodes share no folder. Each has the cluster role of the same checkout
installed; devices speak to the service from this machine, which is the one that has it.
"""

import os
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray  # type: ignore[import-not-found]  # in the cluster's role

from emulator.carrying import Changes, Errand, apply, run_errand
from emulator.device import EmulatedDevice, Mishap, StepResult, World
from emulator.engine import Engine, NoCluster, Pending

_ANSWERS_WITHIN_S = 5.0


class RayEngine(Engine):
    """Trains on a cluster, with the same results as on one machine.

    Attributes:
      steps_by_node: how many steps each of its nodes has taken, by Ray's name of it.

    Guarantees:
      A node that is lost loses no step: another one takes it again, and nothing is seen of the first attempt.

    """

    def __init__(self, num_workers: int, lanes: int = 1, *, address: str | None = None):
        """Takes a cluster, or none yet.

        Args:
          num_workers: processes that train, where the cluster is started here; others have the size that they have.
          lanes: processes of this machine that speak to the service.
          address: of a cluster's head, as HOST:PORT; None for one of this machine alone, for as long as the block.

        """
        super().__init__(lanes)
        self.steps_by_node: Counter[str] = Counter()
        self._num_workers = num_workers
        self._address = address
        self._vocabularies: dict[Path, Any] = {}  # Ray's references, untyped

    def train(self, world: World, device: EmulatedDevice, *, now: float, mishap: Mishap | None = None) -> Pending:
        """Sends a device away."""
        path = world.vocabulary_path
        if path not in self._vocabularies:
            self._vocabularies[path] = ray.put(path.read_bytes())
        errand = Errand.of(world, device, now, mishap)
        return _Away(_run.remote(errand, self._vocabularies[path]), device.folder, self.steps_by_node)

    def _begin_training(self, stack: ExitStack) -> None:
        """Raises: `NoCluster`."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers that it is used
        where = {"address": self._address} if self._address else {"address": "local", "num_cpus": self._num_workers}
        if self._address is not None:
            _require_reachable(self._address)
        with_dashboard = None if self._address else False  # of a cluster that runs, whoever started it decided
        try:
            ray.init(**where, include_dashboard=with_dashboard, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise NoCluster(f"a Ray cluster must be at {self._address or 'this machine'}: {error}") from None
        stack.callback(ray.shutdown)  # what still computes for us ends with it
        stack.callback(self._vocabularies.clear)


class _Away:
    """A device on its errand."""

    def __init__(self, reference: Any, folder: Path, steps_by_node: Counter[str]):
        self._reference = reference
        self._folder = folder
        self._steps_by_node = steps_by_node

    def result(self) -> StepResult:
        """Waits until it is back, and puts on its disk what the step wrote."""
        result, changes, node = ray.get(self._reference)
        apply(changes, self._folder)
        self._steps_by_node[node] += 1
        return result  # type: ignore[no-any-return]


def _require_reachable(address: str) -> None:
    """Looks whether anybody listens there: Ray itself would end this process after a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS_WITHIN_S).close()
    except (OSError, ValueError) as error:
        raise NoCluster(f"a Ray cluster must be at {address}: {error}") from None


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")  # type: ignore[untyped-decorator]
def _run(errand: Errand, vocabulary: bytes) -> tuple[StepResult, Changes, str]:
    result, changes = run_errand(errand, vocabulary)
    return result, changes, ray.get_runtime_context().get_node_id()
