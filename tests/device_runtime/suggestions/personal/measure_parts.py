"""What each part of personalisation is worth, on people who trained an experiment: their later messages.

    keychorus experiment release pooled
    PYTHONPATH=. python tests/device_runtime/suggestions/personal/measure_parts.py reports/experiments pooled

Each word is foreseen as the keyboard foresees it before a letter is typed; after each message all learn it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from device_runtime.suggestions.next_word import NextWordModel
from device_runtime.suggestions.personal import cache as caches
from device_runtime.suggestions.personal import tuning as tunings
from device_runtime.suggestions.personal.blend import Blend
from device_runtime.suggestions.personal.cache import PersonalCache, in_context
from device_runtime.suggestions.personal.tuning import Shares, Tuning, choose, teach, tune
from evaluation.bench.runner import progress
from evaluation.evaluate.contestants import read_release
from evaluation.experiments.book import Book
from evaluation.experiments.texts import read_texts
from tokenizer.text import Token, tokenize


@dataclass
class Hits:
    """Words, and how many of them were suggested first, and among three."""

    words: int = 0
    first: int = 0
    three: int = 0

    def count(self, place: int) -> None:
        """Takes in a word and its place, from 0."""
        self.words += 1
        self.first += place == 0
        self.three += place < 3


def _without_layer(shares: Shares) -> Tuning:
    return choose(Shares(shares.shared, np.zeros_like(shares.shared), shares.cached))


def _without_cache(shares: Shares) -> Tuning:
    return choose(Shares(shares.shared, shares.tuned, np.zeros_like(shares.shared)))


@dataclass(frozen=True)
class Variant:
    """Which contexts are counted, how tuning chooses, and whether fine-tuned weights learn each message."""

    orders: tuple[int, ...] = (0, 1, 2, 3)
    choose: Callable[[Shares], Tuning] = choose
    taught: bool = True


VARIANTS = {
    "as it is": Variant(),
    "contexts of two words": Variant(orders=(0, 1, 2)),
    "contexts of one word": Variant(orders=(0, 1)),
    "fine-tuned weights stay as tuned": Variant(taught=False),
    "no fine-tuned weights": Variant(choose=_without_layer),
    "no counted words": Variant(choose=_without_cache),
}


def live(
    model: NextWordModel, earlier: Sequence[list[Token]], later: Sequence[list[Token]], *, taught: bool
) -> tuple[Hits, Hits]:
    """One person: hits of the shared model, and of the personal one."""
    cache, shared, personal = PersonalCache(), Hits(), Hits()
    tuning, layer = tune(model, earlier, cache)
    for tokens in later:
        blend = Blend(model, cache, tuning.weight, layer) if tuning.helps else None
        _foresee(model, blend, tokens, shared, personal)
        if layer is not None and taught:
            teach(model, layer, tokens)
        cache.learn(tokens)
    return shared, personal


def _foresee(model: NextWordModel, blend: Blend | None, tokens: Sequence[Token], shared: Hits, personal: Hits) -> None:
    own = {} if blend is None else {blend.word(int(row)): int(row) for row in blend.starting_with("")}
    contexts = (context for context, token in in_context(tokens) if token.is_word)
    for (token, outlook), context in zip(model.replay(tokens), contexts, strict=True):
        word = model.vocabulary.id_of(token.text)
        alone = model.probabilities(outlook.logits)
        mixed = alone if blend is None else blend.probabilities(outlook, context)
        shared.count(_place(alone, word))
        personal.count(_place(mixed, word or own.get(token.text, 0)))


def _place(probabilities: np.ndarray, row: int) -> int:
    """How many rows are likelier than `row`; all, for one that cannot be suggested."""
    return int((probabilities > probabilities[row]).sum()) if probabilities[row] > 0 else len(probabilities)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("name")
@click.option("--people", "num_people", type=click.IntRange(1), default=70, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of who is drawn.")
def main(folder: Path, name: str, num_people: int, seed: int) -> None:
    """Print a row for each variant."""
    texts = read_texts(Book(folder).text)
    model = read_release(folder / name / "release").model()
    drawn = np.random.default_rng(seed).permutation(sorted(texts.training))[:num_people]
    table = Table(title=f"{len(drawn)} people's later messages, {name}", title_justify="left")
    for column in ("", "first, %", "gain, %", "three, %", "gain, %", "better for", "worse for"):
        table.add_column(column, justify="right" if column else "left")
    with progress("people", len(drawn) * len(VARIANTS), Console(stderr=True)) as on_turn:
        for title, variant in VARIANTS.items():
            found = []
            for user in drawn:
                earlier, later = ([tokenize(text) for text in half[user]] for half in (texts.training, texts.later))
                with (
                    mock.patch.object(caches, "_ORDERS", variant.orders),
                    mock.patch.object(tunings, "choose", variant.choose),
                ):
                    found.append(live(model, earlier, later, taught=variant.taught))
                on_turn()
            table.add_row(title, *_cells(found))
    Console().print(table)


def _cells(found: Sequence[tuple[Hits, Hits]]) -> Iterator[str]:
    words = sum(shared.words for shared, _ in found)
    for measure in ("first", "three"):
        before, after = (sum(getattr(pair[side], measure) for pair in found) for side in (0, 1))
        yield f"{100 * after / words:.2f}"
        yield f"{100 * (after / before - 1):+.1f}"
    yield f"{np.mean([personal.first > shared.first for shared, personal in found]):.0%}"
    yield f"{np.mean([personal.first < shared.first for shared, personal in found]):.0%}"


if __name__ == "__main__":
    main()
