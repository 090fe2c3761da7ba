"""A device's words that no vocabulary has, and those of them that it votes for in a discovery of new words.

All of this stays on the device; only votes for candidates leave it, masked (`protocol.discovery`).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

from device_runtime.suggestions.blocked import BlockList
from device_runtime.typing_log import TypingLog
from device_runtime.typing_log.scrub import LINK, MAIL_ADDRESS, NUMBER
from protocol.discovery.parameters import DiscoveryParameters
from tokenizer.text import OVERLONG_WORD, tokenize
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

_PLACEHOLDERS = (MAIL_ADDRESS, LINK, NUMBER)
_NOTHING_BLOCKED = BlockList()


def unknown_words(
    log: TypingLog, vocabulary: Vocabulary, *, max_words: int, blocked: BlockList = _NOTHING_BLOCKED
) -> Counter[str]:
    """In how many messages of the log each unknown word is.

    Args:
      log: gives nothing without consent.
      vocabulary: whose words are known.
      max_words: newest words of the log to look at; bounds the work.
      blocked: words that are never suggested; they are left out.

    Returns:
      See `count_unknown`.

    Raises:
      sqlite3.OperationalError: the log cannot be read.
      UnusableKey: the key cannot be had.

    """
    return count_unknown((message.text for message in log.messages(max_words)), vocabulary, blocked=blocked)


def count_unknown(
    messages: Iterable[str], vocabulary: Vocabulary, *, blocked: BlockList = _NOTHING_BLOCKED
) -> Counter[str]:
    """In how many messages each word is that the vocabulary does not have.

    Args:
      messages: as the typing log holds them, scrubbed.
      vocabulary: whose words are known.
      blocked: words that are left out.

    | word                                                      | counted                  |
    |-----------------------------------------------------------|--------------------------|
    | in the vocabulary, or blocked                             | no                       |
    | with a digit in it                                        | no                       |
    | overlong                                                  | no                       |
    | a placeholder of an address or number, or stuck to one    | no                       |
    | twice in one message                                      | once: it may be pasted   |

    """
    counts: Counter[str] = Counter()
    for message in messages:
        words = {token.text for token in tokenize(message) if token.is_word}
        counts.update(word for word in words if vocabulary.id_of(word) == UNKNOWN_ID and _is_nameable(word, blocked))
    return counts


def _is_nameable(word: str, blocked: BlockList) -> bool:
    if word == OVERLONG_WORD or word in blocked or any(letter.isdigit() for letter in word):
        return False
    return not any(placeholder in word for placeholder in _PLACEHOLDERS)


def choose_words(counts: Mapping[str, int], parameters: DiscoveryParameters, seed: bytes) -> tuple[str, ...]:
    """Chooses what the device votes for in all levels of a discovery.

    The device keeps the answer until the discovery ends: its log goes on changing, and votes that change from level to
    level are lost. Privacy does not hang on it: each level's votes are charged as if they were about the whole log.

    Args:
      counts: of `count_unknown`.
      parameters: of the discovery.
      seed: up to 64 random bytes, the device's own, that decide between words of as many messages: by the alphabet all
        devices would leave out the same ones.

    Returns:
      At most `max_words` words, those in most messages first, each in at least `min_messages` messages, of the
      discovery's letters and no longer than it can find.

    """
    letters = frozenset(parameters.letters)
    able = [
        word
        for word, messages in counts.items()
        if messages >= parameters.min_messages and len(word) <= parameters.max_letters and letters.issuperset(word)
    ]
    able.sort(key=lambda word: (-counts[word], hashlib.blake2b(word.encode(), key=seed, digest_size=16).digest()))
    return tuple(able[: parameters.max_words])
