"""What a new word's first weights are worth: the figures of docs/new-words.md. Some five minutes on two cores.

    PYTHONPATH=. python tests/model/measure_growing.py

The small network, trained on chats with the 100 words that come next left out of its vocabulary; then they join it,
each start in its turn, and people whom it never saw are asked: before any training, and after one pass over other
people's chats that has the new words in it.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.bench.runner import progress
from evaluation.corpus import clean, load_chitchat
from evaluation.predictors import NetworkPredictor
from evaluation.split import split_senders
from model.growing import grow_weights, grown_shape
from model.network import SMALL, initial_weights
from model.pretraining import count_steps, pretrain, unigram_bias
from protocol.weights import Weights
from tokenizer.examples import Examples, make_examples
from tokenizer.growing import estimated_shares, grow_vocabulary
from tokenizer.text import PUNCTUATION
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

NUM_NEW, BATCH, LENGTH, SEED = 100, 32, 12, 1
HELD_OUT_MESSAGES = 4_000


class Asked(NamedTuple):
    """Mean losses in nats, and top-3 recall of old words, of one network on held-out people."""

    old_loss: float
    new_loss: float
    old_top3: float


def ask(weights: Weights, vocabulary: Vocabulary, messages: list[str]) -> Asked:
    """Scores the words of `messages`; a word is new if its id is at the end."""
    encoded = [vocabulary.encode_message(text) for text in messages]
    losses: dict[bool, list[float]] = {False: [], True: []}
    hits = 0
    targets = sorted(vocabulary.target_ids)
    for message, logits in zip(encoded, NetworkPredictor(weights).score(encoded), strict=True):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        for row, target in zip(log_probabilities, message[1:], strict=True):
            if target in vocabulary.target_ids:
                losses[target >= SMALL.vocabulary_size].append(-float(row[target]))
                better = np.count_nonzero(row[targets] > row[target])
                hits += target < SMALL.vocabulary_size and better < 3
    return Asked(float(np.mean(losses[False])), float(np.mean(losses[True] or [np.nan])), hits / len(losses[False]))


def starts(weights: Weights, grown: Vocabulary) -> dict[str, Weights]:
    """The weights of the larger network, by how the new words begin."""
    ours = grow_weights(weights, SMALL, grown)
    size = SMALL.vocabulary_size
    random_rows = np.random.default_rng(SEED).normal(0.0, 0.1, (NUM_NEW, SMALL.embedding_size)).astype(np.float32)
    drawn = {**ours, "embedding": np.vstack([weights["embedding"], random_rows])}
    unknown = np.tile(weights["embedding"][UNKNOWN_ID], (NUM_NEW, 1))
    zeros = np.concatenate([weights["output_bias"], np.zeros(NUM_NEW, np.float32)])
    assert len(ours["embedding"]) == size + NUM_NEW
    return {
        "rare words' mean row and bias": ours,
        "the unknown word's row, rare words' bias": {**ours, "embedding": np.vstack([weights["embedding"], unknown])},
        "random row, rare words' bias": drawn,
        "random row, no bias": {**drawn, "output_bias": zeros},
    }


def train(
    weights: Weights, vocabulary: Vocabulary, texts: list[str], *, title: str, epochs: int, rate: float
) -> Weights:
    """Trains on `texts`, with a bar."""
    examples: Examples = make_examples([vocabulary.encode_message(text) for text in texts], vocabulary, LENGTH)
    shape = grown_shape(SMALL, vocabulary)
    options = {"epochs": epochs, "batch_size": BATCH, "learning_rate": rate, "seed": SEED}
    with bar(title, count_steps(examples, batch_size=BATCH, epochs=epochs)) as on_step:
        return pretrain(shape, weights, examples, **options, on_step=lambda _: on_step())


@contextmanager
def bar(title: str, steps: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr."""
    with progress(title, steps, Console(stderr=True)) as on_step:
        yield on_step


def main() -> None:
    """Trains, grows, asks, and prints a table."""
    kept = clean(load_chitchat()).messages
    senders = split_senders(kept, seed=SEED, donor_share=0.6, held_out_share=0.2)
    seen, later, held_out = (
        [message.text for name in names for message in kept[name]]
        for names in (senders.donors, senders.devices, senders.held_out)
    )
    counts = count_words(seen)
    old = Vocabulary(train_vocabulary({word: float(count) for word, count in counts.items()}, SMALL.vocabulary_size))
    unknown = [word for word, _ in counts.most_common() if old.id_of(word) == UNKNOWN_ID and word not in PUNCTUATION]
    grown = grow_vocabulary(old, estimated_shares(old, {word: float(counts[word]) for word in unknown[:NUM_NEW]}))
    first = initial_weights(SMALL, SEED, unigram_bias(old))
    weights = train(first, old, seen, title="pre-training", epochs=2, rate=2e-3)
    table = Table("start", "old loss", "old top-3", "new loss", "old loss after", "old top-3 after", "new loss after")
    before = ask(weights, old, held_out[:HELD_OUT_MESSAGES])
    table.add_row("(vocabulary as it was)", f"{before.old_loss:.3f}", f"{100 * before.old_top3:.2f}")
    for title, begun in starts(weights, grown).items():
        trained = train(begun, grown, later, title=title, epochs=1, rate=1e-3)
        asked = (ask(each, grown, held_out[:HELD_OUT_MESSAGES]) for each in (begun, trained))
        figures = ((f"{one.old_loss:.3f}", f"{100 * one.old_top3:.2f}", f"{one.new_loss:.2f}") for one in asked)
        table.add_row(title, *(figure for three in figures for figure in three))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
