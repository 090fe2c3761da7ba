"""What all arms begin from: people, words, pre-trained weights, training graph. Made once and kept in the folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec

from device_runtime.storage.files import write_atomically
from evaluation.rehearsal.people import People
from evaluation.rehearsal.settings import RehearsalSettings
from protocol.weights import Weights, decode_checkpoint, encode_checkpoint
from tokenizer.examples import count_sequences, make_examples
from tokenizer.text import tokenize
from tokenizer.training import blend_counts, count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

PRETRAINING_BATCH = 20
PUBLIC_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The same for all arms.

    Attributes:
      settings: of the rehearsal.
      people: who trains and who is asked.
      vocabulary: of the network.
      pretrained: weights before the first round.
      graph: the TFLite training graph.

    """

    settings: RehearsalSettings
    people: People = field(repr=False)
    vocabulary: Vocabulary
    pretrained: Weights = field(repr=False)
    graph: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal; arms with the same one may be compared."""
        weights = encode_checkpoint({name: self.pretrained[name] for name in sorted(self.pretrained)})
        parts = (msgspec.json.encode(self.settings), self.vocabulary.model, weights)
        return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()


def count_pretraining(settings: RehearsalSettings, people: People) -> int:
    """Steps of pre-training, for a progress bar."""
    lengths = (len(tokenize(text)) for text in people.donors)
    sequences = count_sequences(lengths, settings.training.sequence_length)
    return settings.pretraining_epochs * -(-sequences // PRETRAINING_BATCH)


def lay_ground(settings: RehearsalSettings, people: People, folder: Path, on_step: Callable[[], None]) -> Ground:
    """Trains vocabulary and first weights, or reads those that an earlier run with the same settings kept.

    Words are those of donors and devices: arms share them, and how a real keyboard gets its words changes nothing of
    what arms are compared for.

    Args:
      settings: of the rehearsal.
      people: see `gather_people`.
      folder: where the weights are kept; TensorFlow does not give the same ones twice.
      on_step: called after each step of pre-training, for a progress bar.

    """
    from model.export import export_training_graph

    shape, training = settings.shape, settings.training
    of_devices = count_words(text for texts in people.training.values() for text in texts)
    shares = blend_counts(of_devices, count_words(people.donors), PUBLIC_SHARE)
    vocabulary = Vocabulary(train_vocabulary(shares, shape.vocabulary_size))
    return Ground(
        settings=settings,
        people=people,
        vocabulary=vocabulary,
        pretrained=first_weights(settings, people.donors, vocabulary, folder, on_step),
        graph=export_training_graph(shape, batch_size=training.batch_size, sequence_length=training.sequence_length),
    )


def first_weights(
    settings: RehearsalSettings,
    donors: Sequence[str],
    vocabulary: Vocabulary,
    folder: Path,
    on_step: Callable[[], None],
) -> Weights:
    """Trains on donors' text, or reads what `folder` keeps of an earlier call with the same arguments."""
    key = sha256(b"".join([msgspec.json.encode(settings), vocabulary.model, *(text.encode() for text in donors)]))
    kept = folder / f"pretrained-{key.hexdigest()[:16]}.safetensors"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, encode_checkpoint(_pretrain(settings, donors, vocabulary, on_step)), durable=False)
    return decode_checkpoint(kept.read_bytes(), settings.shape.tensors)


def _pretrain(
    settings: RehearsalSettings, donors: Sequence[str], vocabulary: Vocabulary, on_step: Callable[[], None]
) -> Weights:
    from model.network import initial_weights
    from model.pretraining import pretrain, unigram_bias

    encoded = [vocabulary.encode_message(text) for text in donors]
    return pretrain(
        settings.shape,
        initial_weights(settings.shape, settings.seed, unigram_bias(vocabulary)),
        make_examples(encoded, vocabulary, settings.training.sequence_length),
        epochs=settings.pretraining_epochs,
        batch_size=PRETRAINING_BATCH,
        seed=settings.seed,
        on_step=lambda _: on_step(),
    )
