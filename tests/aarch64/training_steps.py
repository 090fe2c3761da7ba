"""A few training steps at full size, to be compared between machines. The emulated ones have numpy and little else.

export GRAPH                 writes the training graph (needs TensorFlow)
run GRAPH                    prints the losses and the weights' norms as JSON
compare EXPECTED FOUND...    fails where a figure differs by more than 1e-5 of it
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

STEPS = 4
TOLERANCE = 1e-5


def export(graph: str) -> None:
    from model.export import export_training_graph
    from model.network import FULL

    Path(graph).write_bytes(export_training_graph(FULL))


def run(graph: str) -> None:
    from device_runtime.runtime import Model

    train = Model(Path(graph).read_bytes(), runtime="tflite_runtime").signature("train")
    generator = np.random.default_rng(0)
    weights = {
        name: generator.uniform(-0.1, 0.1, train.inputs[name].shape).astype(np.float32)
        for name in sorted(train.inputs.keys() & train.outputs.keys())
    }
    form = train.inputs["tokens"].shape
    vocabulary_size = len(weights["embedding"])
    words = generator.integers(0, vocabulary_size, (2, *form)).astype(np.int32)
    train.set({"tokens": words[0], "targets": words[1], "target_weights": np.ones(form, np.float32)})
    train.set({"learning_rate": np.array(0.5, np.float32)})
    losses = []
    for _ in range(STEPS):
        train.set(weights)
        losses.append(float(train.run(into=weights)["loss"]))
    # math.fsum, since sums of float32 differ from one numpy to the next.
    norms = {name: math.sqrt(math.fsum(value.astype(np.float64).ravel() ** 2)) for name, value in weights.items()}
    json.dump({**{f"loss {step}": loss for step, loss in enumerate(losses)}, **norms}, sys.stdout, indent=1)


def compare(expected_path: str, *found_paths: str) -> None:
    expected = json.loads(Path(expected_path).read_text())
    for path in found_paths:
        found = json.loads(Path(path).read_text())
        worst = max(abs(found[name] / value - 1) for name, value in expected.items())
        sys.stdout.write(f"{Path(path).stem}: {len(expected)} figures differ by at most {worst:.1e} of them\n")
        if found.keys() != expected.keys() or not worst <= TOLERANCE:
            sys.exit(f"{path} must agree with {expected_path} to {TOLERANCE}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    {"export": export, "run": run, "compare": compare}[sys.argv[1]](*sys.argv[2:])
