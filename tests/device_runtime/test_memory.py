"""Training the full-size model fits a small board: a device's process, whole, stays below 150 MB."""

import os
import subprocess
import sys

import pytest

from device_runtime.runtime import RUNTIME_VARIABLE, RUNTIMES
from model.network import FULL, initial_weights
from protocol.plan import Plan, PrivacyParameters, TrainingParameters, encode_plan
from protocol.weights import encode_checkpoint
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import Vocabulary

MAX_PEAK_MB = 150
NUM_MESSAGES = 40
LETTERS = "abcdefghijklmnopqrstuvwxyz"

DEVICE = """
import sys
from pathlib import Path
import device_runtime.rounds.agent, device_runtime.cli  # all that the daemon imports
from device_runtime.rounds.configuration import load_round
from device_runtime.rounds.trainer import train
from protocol.manifest import FileEntry, Manifest

folder = Path(sys.argv[1])
files = {path.name: FileEntry.of(path.read_bytes()) for path in folder.iterdir()}
manifest = Manifest(purpose="round", population="tests", model_version=1, created_at=0, files=files)
names = {entry: name for name, entry in files.items()}
round_ = load_round(manifest, lambda entry: (folder / names[entry]).read_bytes(), None)
messages = ["abba acca adda affa agga"] * int(sys.argv[2])
result = train(*round_[:3], messages, round_.vocabulary, seed=0, should_stop=lambda: False)
assert result.steps > 1 and result.last_loss < result.first_loss, result
assert not {"tensorflow", "model", "matplotlib"} & sys.modules.keys()
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A round's files at full size. The vocabulary is 10,000 made-up words."""
    from model.export import export_training_graph

    words = [f"a{a}{b}{c}" for a in LETTERS for b in LETTERS for c in LETTERS]
    counts = dict.fromkeys(["abba", "acca", "adda", "affa", "agga"], 2) | dict.fromkeys(words, 1)
    vocabulary = Vocabulary(train_vocabulary(counts, size=FULL.vocabulary_size))
    assert len(vocabulary) == FULL.vocabulary_size
    plan = Plan(
        tensors=FULL.tensors,
        training=TrainingParameters(
            batch_size=16, sequence_length=12, local_epochs=2, learning_rate=0.5, max_words=1_000
        ),
        privacy=PrivacyParameters(
            l2_clip_norm=0.25, noise_multiplier=1.0, report_goal=10, minimum_separation_s=3_600.0
        ),
    )
    files = {
        "plan": encode_plan(plan),
        "training_graph": export_training_graph(FULL),
        "checkpoint": encode_checkpoint(initial_weights(FULL, seed=1)),
        "vocabulary": vocabulary.model,
    }
    folder = tmp_path_factory.mktemp("round")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_training_at_full_size_stays_within_150_mb(folder, runtime):
    environment = os.environ | {RUNTIME_VARIABLE: runtime, "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        [sys.executable, "-c", DEVICE, folder, str(NUM_MESSAGES)],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    peak_mb = int(ran.stdout) / 1024
    assert 50 < peak_mb <= MAX_PEAK_MB
