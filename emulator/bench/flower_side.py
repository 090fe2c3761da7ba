"""Flower's side of the fleet benchmark, run by the Python of an environment with Flower, Ray and TensorFlow.

`FedAvg` as it is, all clients in each round, one actor a core, no evaluation: what Flower's documents advise for CPUs.
"""

import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context  # type: ignore[import-not-found]
from flwr.serverapp import Grid, ServerApp  # type: ignore[import-not-found]
from flwr.serverapp.strategy import FedAvg  # type: ignore[import-not-found]
from flwr.simulation import run_simulation  # type: ignore[import-not-found]

from emulator.bench import flower_client
from emulator.bench.answering import Asked, Round


def main() -> None:
    """Arguments: as JSON what a client needs, and numbers of devices and workers; the folder of the local work."""
    asked = Asked()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    setting, work = json.loads(sys.argv[1]), Path(sys.argv[2])
    with np.load(work / setting["weights"]) as arrays:
        weights = ArrayRecord({name: Array(arrays[name]) for name in arrays.files})
    config = ConfigRecord(
        {
            "work": str(work / setting["batches"]),
            "learning_rate": setting["learning_rate"],
            "l2_clip_norm": setting["l2_clip_norm"],
        }
    )
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, _: Context) -> None:
        rounds = _Rounds(grid, weights, config, setting["devices"])
        while asked.again():
            asked.answer(rounds.close())

    try:
        run_simulation(
            server_app=server,
            client_app=flower_client.app,
            num_supernodes=setting["devices"],
            backend_config={
                "init_args": {"num_cpus": setting["workers"], "include_dashboard": False},
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    except RuntimeError:
        traceback.print_exc()
        os._exit(1)  # the thread that serves would wait for the next question


class _Rounds:
    """Rounds of `FedAvg`, each from the model of the one before."""

    def __init__(self, grid: Grid, weights: ArrayRecord, config: ConfigRecord, devices: int):
        self._grid = grid
        self._weights = weights
        self._config = config
        self._strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=devices, min_available_nodes=devices)

    def close(self) -> Round:
        before = self._weights
        began = time.perf_counter()
        result = self._strategy.start(self._grid, before, num_rounds=1, train_config=self._config)
        seconds = time.perf_counter() - began
        self._weights = result.arrays
        moved = [(after.numpy() - before[name].numpy()).ravel() for name, after in result.arrays.items()]
        metrics = result.train_metrics_clientapp[1]  # means over the clients, of the only round
        return Round(
            seconds=seconds,
            steps=round(metrics["steps"] * self._strategy.min_train_nodes),
            update_norm=float(np.linalg.norm(np.concatenate(moved))),
        )


if __name__ == "__main__":
    main()
