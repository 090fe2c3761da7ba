"""What is kept out of the typing log, encrypted or not: what looks like a mail address, a link or a longer number.

Patterns, not proof: an address in words, a number with letters in it or a bare name of a rare site may pass.
"""

import re
import unicodedata

MAIL_ADDRESS = "placeholdermail"
LINK = "placeholderlink"
NUMBER = "placeholdernumber"
# Each is one word that no vocabulary holds, so the words around it are not learnt as neighbours of each other.

# Hardly seen between two digits: accents, soft hyphen, zero-width and direction marks, variation selectors, keycaps.
_INVISIBLE = "\u0300-\u036f\u00ad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\u20e3\u0000"
# Card and phone numbers are often written in groups, with any of the dashes, or as in Zurich 1'000'000.
_BETWEEN = " \\t.,\\-/()_*'\u2018\u2019\u02bc\u2010-\u2015\u2212\u00b7\u2022"
# Endings under which most bare names of sites lie, without those that are common words after a full stop ("it", "me").
_ENDINGS = (
    "com|org|net|io|edu|gov|mil|int|info|biz|dev|app|ai|tv|co|xyz|onion|de|uk|eu|fr|es|nl|ch|pl|ru|ua|cz|dk|fi|ie|jp|cn"
    "|kr|br|ca|au|nz|mx"
)

_PATTERNS = (
    (re.compile(r"(?i)\b(?:[a-z][a-z0-9+.-]{1,15}://|www\.)\S+"), LINK),
    (re.compile(r"[^\s@<>]{1,64}@[^\s<>]{0,254}\w"), MAIL_ADDRESS),
    (re.compile(rf"(?i)\b(?:[\w-]{{1,63}}\.){{1,8}}(?:{_ENDINGS})\b\S*"), LINK),
    (re.compile(r"(?i)\b(?:[\w-]{1,63}\.){1,8}[a-z]{2,24}/\S+"), LINK),
    (re.compile(rf"\d(?:[{_INVISIBLE}]*(?:[{_BETWEEN}][{_INVISIBLE}]*){{0,2}}\d){{3,}}"), NUMBER),
)


def scrub(text: str) -> str:
    """Replaces mail addresses, links and numbers of four or more digits by placeholders.

    Guarantees:
      The result is UTF-8 in the form NFKC, which the tokenizer takes it to anyway, so that what looks like a digit or
      an at sign is one; what UTF-8 cannot express (lone surrogates) is a question mark.
      No four decimal digits, of whatever script, stand together or in groups.

    >>> scrub("mail anna@example.org or call 030 123-4567, see https://example.org/x?y=1 at 10")
    'mail placeholdermail or call placeholdernumber, see placeholderlink at 10'
    """
    text = unicodedata.normalize("NFKC", text.encode("utf-8", "replace").decode("utf-8"))
    for pattern, placeholder in _PATTERNS:
        text = pattern.sub(placeholder, text)
    return unicodedata.normalize("NFKC", text)
