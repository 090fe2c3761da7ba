"""What is kept out of the typing log, encrypted or not: what looks like a mail address, a link or a longer number.

Patterns, not proof: an address in words, a number with letters in it or a bare name of a site may pass.
"""

import re

MAIL_ADDRESS = "placeholdermail"
LINK = "placeholderlink"
NUMBER = "placeholdernumber"
# Each is one word that no vocabulary holds, so the words around it are not learnt as neighbours of each other.

_PATTERNS = (
    (re.compile(r"(?i)\b(?:[a-z][a-z0-9+.-]{1,15}://|www\.)\S+"), LINK),
    (re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.\w+"), MAIL_ADDRESS),
    (re.compile(r"\b(?:[a-z0-9-]{1,63}\.){1,8}(?:com|org|net|io|edu|gov|info|dev|app|de|uk|eu)\b\S*", re.I), LINK),
    (re.compile(r"\b(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}/\S+", re.I), LINK),
    # Card and phone numbers are often written in groups.
    (re.compile(r"\d(?:[ .,\-/()]{0,2}\d){3,}"), NUMBER),
)


def scrub(text: str) -> str:
    """Replaces mail addresses, links and numbers of four or more digits by placeholders.

    Also replaces what UTF-8 cannot express (lone surrogates), so that the result can be encoded.

    >>> scrub("mail anna@example.org or call 030 123-4567, see https://example.org/x?y=1 at 10")
    'mail placeholdermail or call placeholdernumber, see placeholderlink at 10'
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    for pattern, placeholder in _PATTERNS:
        text = pattern.sub(placeholder, text)
    return text
