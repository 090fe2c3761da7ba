from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.baselines import presage
from evaluation.baselines.absent import BaselineAbsent
from evaluation.baselines.presage import PresageSuggester, make_database, require_presage

TEXTS = ["How are you?", "how are things. You see", "how do you do"] * 4


@pytest.fixture
def suggester(tmp_path: Path) -> Iterator[PresageSuggester]:
    try:
        make_database(TEXTS, tmp_path / "database")
    except BaselineAbsent as absent:
        pytest.skip(str(absent))
    opened = PresageSuggester(tmp_path / "database")
    yield opened
    opened.close()


def test_what_mostly_followed_comes_first(suggester: PresageSuggester) -> None:
    assert suggester.suggest("How ", "")[0] == "are"
    assert suggester.suggest("so, how are ", "T")[0] == "things"


def test_at_most_three_words_that_begin_as_typed(suggester: PresageSuggester) -> None:
    for prefix in ("", "d", "y", "zz"):
        shown = suggester.suggest("how ", prefix)
        assert len(shown) <= 3
        assert all(word.startswith(prefix) for word in shown)


def test_each_question_stands_by_itself(suggester: PresageSuggester) -> None:
    questions = [("how ", ""), ("", ""), ("how are ", ""), ("how ", "a"), ("do ", "y" * 200), ("do " * 40_000, "")]
    first = [list(suggester.suggest(*question)) for question in questions]
    suggester.learn("how penguins walk")
    assert [list(suggester.suggest(*question)) for question in reversed(questions)] == first[::-1]


def test_text_leaves_no_file_but_the_database(suggester: PresageSuggester, tmp_path: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["database"]
    assert (tmp_path / "database").stat().st_mode & 0o077 == 0
    assert suggester.suggest("", "")


def test_absence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(presage, "PROFILE_PATH", tmp_path / "missing.xml")
    with pytest.raises(BaselineAbsent, match="apt install presage"):
        require_presage()
