from pathlib import Path

import pytest

from evaluation.baselines.absent import BaselineAbsent
from evaluation.baselines.onboard import OnboardSuggester, load_library, train_onboard

TEXTS = ["How are you?", "how are things. You see", "how do you do"] * 4


@pytest.fixture
def suggester() -> OnboardSuggester:
    try:
        return train_onboard(TEXTS)
    except BaselineAbsent as absent:
        pytest.skip(str(absent))


def test_what_mostly_followed_comes_first(suggester: OnboardSuggester) -> None:
    assert list(suggester.suggest("How ", ""))[:2] == ["are", "do"]
    assert list(suggester.suggest("so, how are ", "T")) == ["things"]


def test_the_end_of_a_sentence_begins_another(suggester: OnboardSuggester) -> None:
    assert suggester.suggest("", "")[0] == "how"
    assert list(suggester.suggest("do you do. ", "")) == list(suggester.suggest("", ""))


def test_at_most_three_words_that_begin_as_typed(suggester: OnboardSuggester) -> None:
    for prefix in ("", "d", "y", "zz"):
        shown = suggester.suggest("how ", prefix)
        assert len(shown) <= 3
        assert all(word.startswith(prefix) for word in shown)


def test_it_learns_and_keeps_what_it_learnt(suggester: OnboardSuggester, tmp_path: Path) -> None:
    assert "penguins" not in suggester.suggest("how do ", "")
    for _ in range(9):
        suggester.learn("how do penguins walk")
    suggester.save(tmp_path / "model")
    again = OnboardSuggester()
    again.load(tmp_path / "model")
    for one in (suggester, again):
        assert one.suggest("how do ", "")[0] == "penguins"


def test_absence_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BaselineAbsent, match="apt install onboard"):
        load_library(tmp_path)
