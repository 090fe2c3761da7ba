"""The local work that all sides of the benchmark do: the same people, words, first weights, batches and rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from emulator.made_up import made_up_messages
from evaluation.rehearsal.settings import RehearsalSettings, full_size, small_size
from protocol.plan import TrainingParameters
from protocol.weights import Weights
from tokenizer.examples import make_examples, pad_to_batches
from tokenizer.vocabulary import Vocabulary

GRAPH_FILE, VOCABULARY_FILE, TEXTS_FILE = "training_graph.tflite", "vocabulary.model", "texts.json"
WEIGHTS_FILE, BATCHES_FILE = "weights.npz", "batches.npz"
_SIZES = {"small": small_size, "full": full_size}
_WORDS_A_MESSAGE = 3  # at least


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What all sides do.

    Attributes:
      size: of the network, `small` or `full`, and with it batch, sequence and rate of the demo's plan.
      devices: of the cohort; all of them train in every round.
      words: on each device.
      workers: that train at the same time.
      runtime: of our devices; what is quicker depends on the batch.
      seed: of people and first weights.

    """

    size: str = "full"
    devices: int = 64
    words: int = 1600
    workers: int = 2
    runtime: str = "ai_edge_litert"
    seed: int = 1

    @property
    def preset(self) -> RehearsalSettings:
        """Network and clipping norm, of the demo."""
        return _SIZES[self.size](seed=self.seed)

    @property
    def training(self) -> TrainingParameters:
        """The demo's, on all of a device's words."""
        return msgspec.structs.replace(self.preset.training, max_words=self.words)

    def texts(self) -> list[list[str]]:
        """What each device's person typed: messages nobody wrote, of exactly so many words in all."""
        messages = -(-self.words // _WORDS_A_MESSAGE)
        by_person: dict[str, list[str]] = {}
        for message in made_up_messages("en", self.seed, people=self.devices, messages=messages):
            by_person.setdefault(message.user, []).append(message.text)
        return [_cut(texts, self.words) for texts in by_person.values()]


def lay_work(setting: Setting, folder: Path) -> list[int]:
    """Writes what the sides find: graph, vocabulary and texts for devices, weights and batches for those without.

    Loads TensorFlow.

    Returns:
      How many steps each device takes.

    """
    from model.export import export_training_graph
    from model.network import initial_weights
    from model.public_words import public_vocabulary

    shape, training, texts = setting.preset.shape, setting.training, setting.texts()
    vocabulary = public_vocabulary("en", shape.vocabulary_size)
    graph = export_training_graph(shape, batch_size=training.batch_size, sequence_length=training.sequence_length)
    (folder / GRAPH_FILE).write_bytes(graph)
    (folder / VOCABULARY_FILE).write_bytes(vocabulary.model)
    (folder / TEXTS_FILE).write_bytes(msgspec.json.encode(texts))
    np.savez(folder / WEIGHTS_FILE, **initial_weights(shape, setting.seed))
    arrays: dict[str, npt.NDArray[Any]] = {}
    for device, of_device in enumerate(texts):
        arrays |= _batches(device, of_device, vocabulary, training)
    np.savez(folder / BATCHES_FILE, **arrays)
    return [len(arrays[f"tokens/{device}"]) for device in range(setting.devices)]


def read_weights(folder: Path) -> Weights:
    """The first weights, which `lay_work` wrote."""
    with np.load(folder / WEIGHTS_FILE) as arrays:
        return dict(arrays)


def _batches(
    device: int, texts: Sequence[str], vocabulary: Vocabulary, training: TrainingParameters
) -> dict[str, npt.NDArray[Any]]:
    """One epoch, as a device cuts it: arrays [steps, batch_size, sequence_length] by kind and device."""
    encoded = [vocabulary.encode_message(text) for text in texts]
    batches = pad_to_batches(make_examples(encoded, vocabulary, training.sequence_length), training.batch_size)
    stacked = (np.stack(arrays) for arrays in zip(*batches, strict=True))
    return {f"{kind}/{device}": array for kind, array in zip(batches[0]._fields, stacked, strict=True)}


def _cut(texts: Sequence[str], words: int) -> list[str]:
    """The first messages, the last of them cut, so that they have exactly `words` words."""
    kept: list[str] = []
    for text in texts:
        said = text.split()[:words]
        if said:
            kept.append(" ".join(said))
        words -= len(said)
    return kept
