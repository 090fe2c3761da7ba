from collections.abc import Sequence

import pytest

from evaluation.typist import TypedWord, type_text, type_word


class Scripted:
    """Shows the same words whatever came, as far as they begin like the unfinished one."""

    def __init__(self, *words: str):
        self.words = words
        self.asked: list[tuple[str, str]] = []

    def suggest(self, before: str, prefix: str) -> Sequence[str]:
        self.asked.append((before, prefix))
        return [word for word in self.words if word.lower().startswith(prefix.lower())][:3]

    def learn(self, message: str) -> None:
        raise AssertionError("nobody sent anything")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hello", (0, 0)),
        ("THERE", (1, 0)),  # capitals do not count
        ("thin", (None, 1)),  # fourth, shows after "t"
        ("xyz", (None, 3)),
    ],
)
def test_a_word_is_typed_until_it_shows(word: str, expected: tuple[int | None, int]) -> None:
    scripted = Scripted("hello", "There", "how", "thin")
    assert type_word(word, lambda prefix: scripted.suggest("", prefix)) == expected


def test_only_what_was_typed_before_is_shown() -> None:
    scripted = Scripted("zzz")
    typed = list(type_text("Is it?  ok", scripted))
    assert scripted.asked == [("", ""), ("", "I"), ("Is ", ""), ("Is ", "i"), ("Is it ? ", ""), ("Is it ? ", "o")]
    assert [(word.token.text, word.rank, word.letters) for word in typed] == [
        ("is", None, 2), ("it", None, 2), ("ok", None, 2)
    ]  # fmt: skip


def test_an_overlong_word_is_a_miss_that_nobody_is_asked_for() -> None:
    scripted = Scripted("a")
    (typed,) = type_text("x" * 60, scripted)
    assert isinstance(typed, TypedWord)
    assert (typed.rank, typed.letters) == (None, len(typed.token.text))
    assert scripted.asked == []
