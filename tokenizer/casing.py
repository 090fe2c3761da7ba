"""Capitals: ids are lower case, so a suggestion gets its capitals back from public text and from its place."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tokenizer.text import Token, ends_sentence, tokenize

_MIN_COUNT = 3
_MIN_SHARE = 0.6

ALWAYS = {"i": "I", "i'm": "I'm", "i'll": "I'll", "i've": "I've", "i'd": "I'd"}
"""English's capital pronoun; text typed in chats rarely shows it."""


class Casing:
    """The usual spelling of words that are not usually written in lower case."""

    def __init__(self, spellings: Mapping[str, str]):
        """Takes normal form -> usual spelling."""
        self.spellings = {**ALWAYS, **spellings}

    def restore(self, word: str, *, starts_sentence: bool) -> str:
        """Writes a word in its normal form as a person would.

        >>> Casing({"anna": "Anna"}).restore("anna", starts_sentence=False)
        'Anna'
        >>> Casing({}).restore("hello", starts_sentence=True)
        'Hello'
        """
        usual = self.spellings.get(word, word)
        return usual[:1].upper() + usual[1:] if starts_sentence and usual == word else usual

    def to_tsv(self) -> bytes:
        """One `word<TAB>spelling` row a word, sorted."""
        return "".join(f"{word}\t{usual}\n" for word, usual in sorted(self.spellings.items())).encode()

    @classmethod
    def from_tsv(cls, payload: bytes) -> "Casing":
        """Reads `to_tsv`'s rows.

        Raises:
          ValueError: not UTF-8, or a row that is not a word and its spelling.

        """
        rows = [row.split("\t") for row in payload.decode("utf-8").splitlines()]
        if any(len(row) != 2 or row[0] != row[1].lower() for row in rows):
            raise ValueError("a casing row must be a word, a tab and the word's spelling")
        return cls(dict(rows))


def learn_casing(texts: Iterable[str]) -> Casing:
    """Learns usual spellings from public text, leaving out the words that begin a sentence."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for token in _inside_sentences(tokenize(text)):
            seen[token.text][token.surface] += 1
    spellings = {}
    for word, surfaces in seen.items():
        usual, count = surfaces.most_common(1)[0]
        if usual != word and usual.lower() == word and count >= max(_MIN_COUNT, _MIN_SHARE * surfaces.total()):
            spellings[word] = usual
    return Casing(spellings)


def _inside_sentences(tokens: list[Token]) -> Iterable[Token]:
    for before, token in itertools.pairwise(tokens):
        if token.is_word and not ends_sentence(before):
            yield token
