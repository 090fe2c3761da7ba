"""Who typed which unknown words: what devices vote for, and what a discovery should find."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from device_runtime.rounds.unknown_words import choose_words, count_unknown
from device_runtime.typing_log.scrub import scrub
from evaluation.corpus import Message
from evaluation.discovery.settings import DiscoverySettings
from tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class TypedWords:
    """Words by device; never part of a `repr`.

    Attributes:
      chosen: what each device votes for; the empty tuple for those without unknown words.
      people: how many typed each unknown word at all, whether their devices vote for it or not.

    """

    chosen: tuple[tuple[str, ...], ...] = field(repr=False)
    people: Counter[str] = field(repr=False)

    @property
    def devices(self) -> int:
        """All who typed anything."""
        return len(self.chosen)

    @property
    def voters(self) -> int:
        """Those with a word to vote for."""
        return sum(bool(words) for words in self.chosen)

    def devices_by_prefix(self, depth: int) -> Counter[str]:
        """How many devices vote for a word of at least `depth` letters that begins with each."""
        begun = ({word[:depth] for word in words if len(word) >= depth} for words in self.chosen)
        return Counter(prefix for prefixes in begun for prefix in prefixes)


def gather_words(messages: Iterable[Message], vocabulary: Vocabulary, settings: DiscoverySettings) -> TypedWords:
    """Counts and chooses as each sender's device would, from messages scrubbed as its typing log does."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for message in messages:
        texts[message.user].append(scrub(message.text))
    people: Counter[str] = Counter()
    chosen = []
    for user in sorted(texts):
        counts = count_unknown(texts[user], vocabulary)
        people.update(counts.keys())
        seed = hashlib.sha256(f"{settings.seed}\n{user}".encode()).digest()
        chosen.append(choose_words(counts, settings.parameters, seed))
    return TypedWords(chosen=tuple(chosen), people=people)
