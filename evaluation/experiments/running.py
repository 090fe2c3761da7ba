"""Running one experiment from its settings to its entry in the book."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from evaluation.experiments.book import Book, Entry
from evaluation.experiments.central import count_steps, make_text, train_centrally
from evaluation.experiments.federated import Server, run_rounds
from evaluation.experiments.measuring import Measuring
from evaluation.experiments.settings import Central, Federated
from evaluation.experiments.texts import Texts
from evaluation.rehearsal.local_training import open_trainers

Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Title and number of turns, to what moves the bar on by one."""

_CURVE_POINTS = 20


def run_central(book: Book, name: str, training: Central, texts: Texts, bar: Bar) -> Entry:
    """Trains on pooled text, measures, and writes it down.

    Raises:
      BookError: an experiment of that name ended already, or the one to start from has not.

    """
    began, shape = time.monotonic(), book.text.shape
    keep = book.unfinished(name, training)
    start = None if training.start is None else book.weights(training.start)
    examples = make_text(training, texts, book.vocabulary)
    with bar(f"training {name}", count_steps(training, examples)) as advance:
        weights = train_centrally(
            training, shape, start, book.vocabulary, examples, keep=keep, on_step=lambda _: advance()
        )
    later = Measuring(texts.later, book.vocabulary).accuracy(weights)
    entry = Entry(name=name, training=training, later=later, seconds=time.monotonic() - began)
    book.write(entry, weights)
    return entry


def run_federated(book: Book, name: str, training: Federated, texts: Texts, bar: Bar, *, num_workers: int) -> Entry:
    """Runs federated rounds, measures, and writes it down.

    Raises:
      BookError: an experiment of that name ended already, or the one to start from has not.
      ValueError: a cohort larger than the population.

    """
    from model.export import export_training_graph

    began, shape = time.monotonic(), book.text.shape
    keep = book.unfinished(name, training)
    server = Server.begin(training, shape, book.weights(training.start))
    measuring = Measuring(texts.later, book.vocabulary)
    local = training.training
    graph = export_training_graph(shape, batch_size=local.batch_size, sequence_length=local.sequence_length)
    with (
        open_trainers(training.plan(shape), graph, book.vocabulary, num_workers) as trainers,
        bar(f"rounds of {name}", training.rounds) as advance,
    ):
        weights = run_rounds(
            server,
            texts.training,
            trainers,
            keep=keep,
            curve_top1=measuring.curve_top1,
            curve_every=max(1, training.rounds // _CURVE_POINTS),
            on_round=advance,
            public=texts.public_devices() if training.public_devices else {},
        )
    entry = Entry(
        name=name,
        training=training,
        later=measuring.accuracy(weights),
        curve=tuple(server.curve),
        seconds=time.monotonic() - began,
    )
    book.write(entry, weights)
    return entry
