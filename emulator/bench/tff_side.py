"""TensorFlow Federated's side of the fleet benchmark, run by the Python of the simulation's environment.

The learning process is that of `keychorus simulate`.
"""

import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from aggregation_service.rounds.optimizer import ServerAverage
from emulator.bench.answering import Asked, Round
from emulator.bench.local_work import BATCHES_FILE, Setting, read_weights
from emulator.simulation.learning import Simulation
from emulator.simulation.runtime import tff_runtime
from emulator.simulation.settings import RunSettings
from protocol.clipping import l2_norm
from protocol.weights import flatten
from tokenizer.examples import Examples


def main() -> None:
    """Arguments: the setting as JSON, and the folder of the local work."""
    asked = Asked()
    setting, work = msgspec.json.decode(sys.argv[1], type=Setting), Path(sys.argv[2])
    preset, training = setting.preset, setting.training
    specs = preset.shape.tensors
    first = read_weights(work)
    run = RunSettings(
        aggregator="mean",
        noise_multiplier=0,
        l2_clip_norm=preset.l2_clip_norm,
        learning_rate=training.learning_rate,
        optimizer=ServerAverage(),
        rounds=1,
        cohort=setting.devices,
        seed=setting.seed,
    )
    cohort = [(examples, device) for device, examples in enumerate(read_examples(work, setting.devices))]
    steps = sum(len(examples.tokens) for examples, _ in cohort) // training.batch_size
    with tff_runtime(setting.workers):
        simulation = Simulation(run, training, specs, first)
        while asked.again():
            before = flatten(simulation.weights, specs)
            began = time.perf_counter()
            simulation.close_round(cohort)
            seconds = time.perf_counter() - began
            moved = l2_norm(flatten(simulation.weights, specs) - before)
            asked.answer(Round(seconds=seconds, steps=steps, update_norm=moved))


def read_examples(work: Path, devices: int) -> list[Examples]:
    """Each device's, from the batches: [sequences, length], padding of the last batch included."""
    with np.load(work / BATCHES_FILE) as arrays:
        return [
            Examples(*(np.concatenate(arrays[f"{kind}/{device}"]) for kind in Examples._fields))
            for device in range(devices)
        ]


if __name__ == "__main__":
    main()
