"""Training a vocabulary from counts, so that no private text is needed."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import sentencepiece

from tokenizer.text import MAX_WORD_CHARS, OVERLONG_WORD, PUNCTUATION, tokenize
from tokenizer.vocabulary import END_ID, NUM_SPECIAL, START_ID, UNKNOWN_ID

_TOTAL_COUNT = 10**9
_MIN_COUNT = 1_000
# SentencePiece adds characters until their share passes the coverage, in float32: one that is rarer than about 1e-7 is
# lost, and every word with it, so no count is smaller than a millionth of all.


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Counts words and punctuation marks in their normal forms."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(token.text for token in tokenize(text))
    del counts[OVERLONG_WORD]
    return counts


def blend_counts(public: Mapping[str, float], local: Mapping[str, int], public_weight: float) -> dict[str, float]:
    """Mixes two sources of counts as shares of their totals.

    Args:
      public: frequency of each word in public counts, any unit.
      local: counts in the donors' text.
      public_weight: share of the public counts in the mixture, in [0, 1].

    Raises:
      ValueError: `public_weight` is out of its bound.

    """
    if not 0 <= public_weight <= 1:
        raise ValueError(f"public_weight must be in [0, 1], got {public_weight}")
    public_total = max(sum(public.values()), 1e-300)
    mixture = {word: public_weight * value / public_total for word, value in _words(public).items()}
    local_total = max(1, sum(local.values()))
    for word, count in local.items():
        mixture[word] = mixture.get(word, 0.0) + (1 - public_weight) * count / local_total
    return mixture


def _words(counts: Mapping[str, float]) -> dict[str, float]:
    """Keeps what our own definition calls one word: public lists also hold phrases and other normal forms.

    Entries with digits go: wordfreq writes every number as zeros ("0000" for all years).
    """
    kept: dict[str, float] = {}
    for entry, value in counts.items():
        tokens = tokenize(entry)
        one_word = len(tokens) == 1 and tokens[0].is_word and tokens[0].text != OVERLONG_WORD
        if one_word and not any(letter.isdigit() for letter in tokens[0].text):
            kept[tokens[0].text] = kept.get(tokens[0].text, 0.0) + value
    return kept


def train_vocabulary(shares: Mapping[str, float], size: int) -> bytes:
    """Trains a SentencePiece `word` model of exactly `size` ids from shares of words.

    Args:
      shares: share of each word or punctuation mark; all punctuation marks are kept whatever their share.
      size: number of ids, the three special ones included.

    Returns:
      The model's bytes: the same for the same shares. Changes the working directory for a moment, so no other thread
      may rely on it meanwhile.

    Raises:
      ValueError: fewer words than `size` needs.

    """
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    words = [(word, share) for word, share in ranked if word not in PUNCTUATION and len(word) <= MAX_WORD_CHARS]
    num_words = size - NUM_SPECIAL - len(PUNCTUATION)
    if len(words) < num_words:
        raise ValueError(f"a vocabulary of {size} needs {num_words} words, got {len(words)}")
    marks = [(mark, shares.get(mark, 0.0)) for mark in sorted(PUNCTUATION)]
    kept = words[:num_words] + marks
    scale = _TOTAL_COUNT / sum(share for _, share in kept)
    with tempfile.TemporaryDirectory(prefix="keychorus-vocabulary-") as folder:
        rows = "".join(f"{word}\t{max(_MIN_COUNT, round(share * scale))}\n" for word, share in kept)
        (Path(folder) / "counts.tsv").write_text(rows, encoding="utf-8")
        # A model file records the paths that it was trained from: relative ones make it the same everywhere.
        with contextlib.chdir(folder):
            _train(size)
        return (Path(folder) / "words.model").read_bytes()


def _train(size: int) -> None:
    sentencepiece.SentencePieceTrainer.train(
        input="counts.tsv",
        input_format="tsv",
        model_prefix="words",
        model_type="word",
        vocab_size=size,
        normalization_rule_name="identity",
        unk_id=UNKNOWN_ID,
        bos_id=START_ID,
        eos_id=END_ID,
        pad_id=-1,
        character_coverage=1.0,  # its default drops words with rare letters, digits and punctuation marks
        minloglevel=2,
    )
