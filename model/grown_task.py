"""What a new task needs where the vocabulary of an old one grows by discovered words: all four files, made anew."""

import math
from dataclasses import dataclass

import msgspec

from model.export import export_training_graph
from model.growing import grow_weights, grown_shape
from model.network import NetworkShape
from protocol.errors import WrongContent
from protocol.plan import Plan
from protocol.weights import Weights
from tokenizer.growing import estimated_shares, grow_vocabulary
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

MAX_WORDS_BYTES = 4 * 1024 * 1024


class WrongWords(ValueError):
    """A file that is no list of words and counts. The message names a line, never what stands there."""


@dataclass(frozen=True, kw_only=True)
class GrownTask:
    """The files of the new task.

    Attributes:
      plan: the old one with larger tensors.
      graph: TFLite, of the plan's batches.
      vocabulary: every old word has its id.
      weights: by name.
      num_known: words that were left out, as the vocabulary had them already.

    """

    plan: Plan
    graph: bytes
    vocabulary: Vocabulary
    weights: Weights
    num_known: int


def read_words(content: bytes) -> dict[str, float]:
    """Reads what `keychorus service words export` writes: a word, a tab and its noised number of devices a line.

    Raises:
      WrongWords: longer than 4 MiB, not UTF-8, no words, a word twice, or a line that is not as said, with a finite
        number > 0.

    """
    if len(content) > MAX_WORDS_BYTES:
        raise WrongWords(f"a list of words must have at most {MAX_WORDS_BYTES} bytes, got {len(content)}")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise WrongWords("a list of words must be UTF-8 text, got other bytes") from None
    words: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        word, _, count = line.partition("\t")
        devices = _number(count)
        if not word or devices is None or word in words:
            raise WrongWords(f"line {number} must be a word that is on no line before, a tab and a number > 0")
        words[word] = devices
    if not words:
        raise WrongWords("a list of words must have at least 1 word, got none")
    return words


def grow_task(plan: Plan, vocabulary: Vocabulary, weights: Weights, words: dict[str, float]) -> GrownTask:
    """Grows a task by words, as docs/new-words.md says.

    Args:
      plan: of the old task, for training.
      vocabulary: of the old task.
      weights: to begin from, of the plan's tensors.
      words: noised numbers of devices by word; those that are known are left out.

    Raises:
      WrongContent: the plan's tensors are not those of a network with this vocabulary.
      WrongWord: a word that a vocabulary cannot hold.

    """
    shape = shape_of(weights, vocabulary)
    if plan.tensors != shape.tensors:
        raise WrongContent("the plan's tensors must be those of the network, got others")
    unknown = {word: devices for word, devices in words.items() if vocabulary.id_of(word) == UNKNOWN_ID}
    grown = grow_vocabulary(vocabulary, estimated_shares(vocabulary, unknown))
    new_shape = grown_shape(shape, grown)
    training = plan.training
    return GrownTask(
        plan=msgspec.structs.replace(plan, tensors=new_shape.tensors),
        graph=export_training_graph(
            new_shape, batch_size=training.batch_size, sequence_length=training.sequence_length
        ),
        vocabulary=grown,
        weights=grow_weights(weights, shape, grown),
        num_known=len(words) - len(unknown),
    )


def shape_of(weights: Weights, vocabulary: Vocabulary) -> NetworkShape:
    """The shape of the network that has these weights.

    Raises:
      WrongContent: they are of no network, or of one with another number of words.

    """
    try:
        num_units, embedding_size = weights["projection"].shape
    except (KeyError, ValueError):
        raise WrongContent("weights must have a projection of two dimensions, as the network's have") from None
    rows = weights["embedding"].shape[0] if "embedding" in weights else 0
    if rows != len(vocabulary):
        raise WrongContent(f"the embedding must have a row for each of {len(vocabulary)} words, got {rows}")
    return NetworkShape(vocabulary_size=rows, embedding_size=embedding_size, num_units=num_units)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
