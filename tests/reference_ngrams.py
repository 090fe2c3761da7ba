"""Small texts of numbers, and a Kneser-Ney written a second time: slowly, with dictionaries, from the formulas."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies

from evaluation.baselines.ngram import NgramModel
from tokenizer.vocabulary import NUM_SPECIAL, START_ID

VOCABULARY_SIZE = 12
WORDS = range(NUM_SPECIAL, VOCABULARY_SIZE)
SOME_WORDS = range(NUM_SPECIAL, VOCABULARY_SIZE - 3)
"""The others, and the unknown word, are context only."""

texts = strategies.lists(
    strategies.lists(strategies.sampled_from([0, *WORDS]), max_size=7).map(lambda ids: [START_ID, *ids]),
    min_size=1,
    max_size=30,
).filter(lambda messages: any(token in SOME_WORDS for message in messages for token in message))


def make_text(num_messages: int, seed: int, vocabulary_size: int = VOCABULARY_SIZE) -> list[list[int]]:
    """Messages in which words depend on the one before, with a long tail."""
    generator = np.random.default_rng(seed)
    messages = []
    for _ in range(num_messages):
        message = [START_ID]
        for _ in range(generator.integers(1, 12)):
            step = int(generator.geometric(0.25)) * (1 + message[-1] % 3)
            message.append(NUM_SPECIAL + step % (vocabulary_size - NUM_SPECIAL))
        messages.append(message)
    return messages


Gram = tuple[int, ...]


class SlowKneserNey:
    """Chen and Goodman 1998, equations 24 to 26, one n-gram at a time."""

    def __init__(self, messages: Sequence[Sequence[int]], targets: Sequence[int], order: int):
        self.targets, self.order = set(targets), order
        self.counts: dict[int, Counter[Gram]] = {span: Counter() for span in range(1, order + 1)}
        left: defaultdict[Gram, set[int]] = defaultdict(set)
        for message in messages:
            for end in range(1, len(message)):
                for span in range(1, min(order, end + 1) + 1):
                    gram = tuple(message[end - span + 1 : end + 1])
                    if gram[-1] not in self.targets:
                        continue
                    if span == order or gram[0] == START_ID:
                        self.counts[span][gram] += 1
                    elif end >= span:
                        left[gram].add(message[end - span])
        for gram, neighbours in left.items():
            self.counts[len(gram)][gram] = len(neighbours)
        self.discounts = {span: self._discounts(self.counts[span]) for span in self.counts}

    @staticmethod
    def _discounts(counts: Counter[Gram]) -> list[float]:
        n = Counter(counts.values())
        if not all(n[times] for times in (1, 2, 3, 4)):
            return [0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        found = [times - (times + 1) * y * n[times + 1] / n[times] for times in (1, 2, 3)]
        sound = all(0 < value < times for times, value in enumerate(found, start=1))
        return found if sound else [0.5, 1.0, 1.5]

    def probability(self, history: Gram, word: int) -> float:
        history = history[-(self.order - 1) :] if self.order > 1 else ()
        span = len(history) + 1
        shorter = self.probability(history[1:], word) if history else 1 / len(self.targets)
        followers = {gram: count for gram, count in self.counts[span].items() if gram[:-1] == history}
        if not followers:
            return shorter
        off = {gram: self.discounts[span][min(count, 3) - 1] for gram, count in followers.items()}
        total, gram = sum(followers.values()), (*history, word)
        kept = followers.get(gram, 0) - off.get(gram, 0)
        return (kept + sum(off.values()) * shorter) / total


def write_arpa(model: NgramModel, path: Path) -> None:
    """Writes ids as words `w<id>`, for KenLM: the start is `<s>`. Every context must end in a listed word."""
    names = ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(NUM_SPECIAL, model.vocabulary_size))]
    sections: list[dict[Gram, list[float]]] = [{(START_ID,): [-99.0, 0.0], (0,): [-99.0, 0.0], (2,): [-99.0, 0.0]}]
    contexts: list[Gram] = [()]
    for order, level in enumerate(model.levels, start=1):
        lower = level.contexts // model.vocabulary_size
        first_tokens = level.contexts % model.vocabulary_size
        if order > 1:
            contexts = [(int(token), *contexts[place]) for place, token in zip(lower, first_tokens, strict=True)]
            for context, backoff in zip(contexts, level.log_backoffs, strict=True):
                sections[order - 2][context][1] = float(backoff) / np.log(10)
            sections.append({})
        for owner, word, value in zip(level.owners, level.words, level.log_probabilities, strict=True):
            sections[order - 1][(*contexts[owner], int(word))] = [float(value) / np.log(10), 0.0]
    lines = ["\\data\\", *(f"ngram {order}={len(grams)}" for order, grams in enumerate(sections, start=1))]
    for order, grams in enumerate(sections, start=1):
        lines += ["", f"\\{order}-grams:"]
        for gram, (value, backoff) in grams.items():
            tail = f"\t{backoff:.7f}" if order < len(sections) else ""
            lines.append(f"{value:.7f}\t{' '.join(names[token] for token in gram)}{tail}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
