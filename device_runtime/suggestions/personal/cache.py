"""A person's own words, and how they followed up to three others, counted with decay."""

from collections.abc import Iterator, Mapping, Sequence

from tokenizer.text import OVERLONG_WORD, Token, ends_sentence

Context = tuple[str, ...]
"""The words and marks before a word, at most three of them, in their normal form."""

BEGINNING = "<s>"
"""Stands before a message; no word can be that."""

BACK_OFF = 3.0
"""Pseudo-count with which a shorter context stands in for a longer one (the mu of a Dirichlet prior)."""

_ORDERS = (0, 1, 2, 3)
LONGEST = _ORDERS[-1]
"""Words and marks of the longest context."""


class PersonalCache:
    """Counts that fade: a word typed now weighs 1, and half of that `half_life_words` words later.

    Distribution of the next word w after the tokens a, b (MacKay and Peto 1995, a hierarchical Dirichlet model), and
    likewise after three:

        p(w)        = c(w) / c
        p(w | b)    = (c(b, w) + mu p(w)) / (c(b) + mu)
        p(w | a, b) = (c(a, b, w) + mu p(w | b)) / (c(a, b) + mu)

    Guarantees:
      Once a message is learnt it holds at most `max_entries` counts, some 4 MB. It holds nothing else of what was
      typed, and is never stored: it is rebuilt from the typing log, so that what expires or is wiped there is gone
      here.

    | message               | learnt                                                       |
    |-----------------------|--------------------------------------------------------------|
    | empty, or no word     | nothing                                                      |
    | overlong run of letters | it is context, never a word                                |
    | word seen once        | counts; suggested only if the vocabulary has it              |
    """

    def __init__(self, *, half_life_words: float = 5_000.0, max_entries: int = 15_000):
        """Begins empty.

        Raises:
          ValueError: a bound is not positive.

        """
        if half_life_words <= 0:
            raise ValueError(f"half_life_words must be > 0, got {half_life_words}")
        if max_entries < 2:
            raise ValueError(f"max_entries must be >= 2, got {max_entries}")
        self._growth = 2 ** (1 / half_life_words)
        self._max_entries = max_entries
        # Instead of shrinking all old counts with each word, new ones grow: a count in units of `_one` has decayed.
        self._one = 1.0
        self._counts: dict[Context, dict[str, float]] = {}
        self._totals: dict[Context, float] = {}
        self._spellings: dict[str, str] = {}
        self._num_entries = 0

    def __len__(self) -> int:
        """Counts held: of words after no, one, two and three others."""
        return self._num_entries

    def learn(self, tokens: Sequence[Token], *, unlearnt: frozenset[str] = frozenset()) -> None:
        """Counts one message.

        Args:
          tokens: of the message, from its beginning.
          unlearnt: words that are only context.

        """
        for (context, token), before in zip(in_context(tokens), (None, *tokens), strict=False):
            if not token.is_word or token.text == OVERLONG_WORD or token.text in unlearnt:
                continue
            self._one *= self._growth
            for order in _ORDERS:
                self._add(context[len(context) - order :], token.text)
            if before is not None and not ends_sentence(before):
                self._spell(token)
        if self._num_entries > self._max_entries or self._one > 1e100:
            self._forget()

    def _add(self, context: Context, word: str) -> None:
        counts = self._counts.setdefault(context, {})
        self._num_entries += word not in counts
        counts[word] = counts.get(word, 0.0) + self._one
        self._totals[context] = self._totals.get(context, 0.0) + self._one

    def _spell(self, token: Token) -> None:
        """Remembers capitals, unless they are those of a shout."""
        if token.surface == token.text:
            self._spellings.pop(token.text, None)
        elif len(token.surface) == 1 or not token.surface.isupper():
            self._spellings[token.text] = token.surface

    def _forget(self) -> None:
        """Drops the weakest counts beyond half of the bound, so that this is rare, and begins a new unit."""
        entries = [(count, context, word) for context, found in self._counts.items() for word, count in found.items()]
        entries.sort(key=lambda entry: entry[0], reverse=True)
        one, self._one = self._one, 1.0
        self._counts, self._totals = {}, {}
        kept = entries[: self._max_entries // 2]
        for count, context, word in kept:
            self._counts.setdefault(context, {})[word] = count / one
            self._totals[context] = self._totals.get(context, 0.0) + count / one
        self._num_entries = len(kept)
        words = self._counts.get((), {})
        self._spellings = {word: spelling for word, spelling in self._spellings.items() if word in words}

    def counts(self, context: Context) -> Mapping[str, float]:
        """How often each word followed `context`, decayed."""
        return {word: count / self._one for word, count in self._counts.get(context, {}).items()}

    def total(self, context: Context) -> float:
        """The sum of `counts(context)`."""
        return self._totals.get(context, 0.0) / self._one

    def own_words(self) -> Iterator[str]:
        """Words typed more than once lately: with one of its sightings fresh, a word counts more than 1."""
        return (word for word, count in self._counts.get((), {}).items() if count > self._one)

    def spelling(self, word: str) -> str:
        """The word as the person last wrote it inside a sentence."""
        return self._spellings.get(word, word)

    def share(self, word: str, context: Context) -> float:
        """The probability of `word` after `context`, by the formula above; 0 while nothing is learnt."""
        total = self.total(())
        result = self._counts.get((), {}).get(word, 0.0) / self._one / total if total else 0.0
        for order in _ORDERS[1:]:
            longer = context[len(context) - order :]
            if len(longer) == order and (total := self.total(longer)):
                count = self._counts[longer].get(word, 0.0) / self._one
                result = (count + BACK_OFF * result) / (total + BACK_OFF)
        return result


def in_context(tokens: Sequence[Token]) -> Iterator[tuple[Context, Token]]:
    """Each token of a message with the three before it."""
    before: Context = (BEGINNING,) * LONGEST
    for token in tokens:
        yield before, token
        before = (*before[1:], token.text)


def context_after(tokens: Sequence[Token]) -> Context:
    """The context of the word that follows `tokens`."""
    return (*[BEGINNING] * LONGEST, *(token.text for token in tokens[-LONGEST:]))[-LONGEST:]
