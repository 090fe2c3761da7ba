from pathlib import Path

import numpy as np
import pytest

from evaluation.baselines import registry
from evaluation.baselines.registry import BASELINES, BaselineAbsent, UnknownBaseline, train_baseline
from evaluation.predictors import Predictor, Suggester
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import Vocabulary

WORDS = ["how", "are", "you", "do", "things", "see", "well", "now"]
VOCABULARY = Vocabulary(train_vocabulary(dict.fromkeys(WORDS, 1.0), 3 + 6 + len(WORDS)))
TEXTS = ["How are you?", "how are things. You see well", "how do you do now", "penguins do well"] * 5


@pytest.mark.parametrize("name", BASELINES)
def test_each_is_trained_once_and_read_again(name: str, tmp_path: Path) -> None:
    told: list[str] = []
    try:
        first = train_baseline(name, TEXTS, VOCABULARY, tmp_path / "kept", told.append)
    except BaselineAbsent as absent:
        pytest.skip(str(absent))
    num_told = len(told)
    again = train_baseline(name, iter(TEXTS), VOCABULARY, tmp_path / "kept", told.append)
    assert len(told) == num_told
    assert isinstance(first, Predictor) != isinstance(first, Suggester)
    assert answers(first) == answers(again)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))
    assert not any("penguin" in line for line in told)


def answers(baseline: Predictor | Suggester) -> list[object]:
    if isinstance(baseline, Suggester):
        return [list(baseline.suggest(before, "")) for before in ("", "how ", "how do ")]
    message = VOCABULARY.encode_message("how do you do")
    return [scores.tolist() for scores in baseline.score([message])]


def test_other_text_is_another_model(tmp_path: Path) -> None:
    one, other = (train_baseline("ngram", texts, VOCABULARY, tmp_path) for texts in (TEXTS, TEXTS[1:]))
    assert answers(one) != answers(other)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_small_one_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_baseline("ngram-small", TEXTS, VOCABULARY, tmp_path / "large")
    (large,) = (tmp_path / "large").iterdir()
    monkeypatch.setattr(registry, "SMALL_BYTES", large.stat().st_size - 40)
    train_baseline("ngram-small", TEXTS, VOCABULARY, tmp_path / "small")
    (small,) = (tmp_path / "small").iterdir()
    assert small.stat().st_size <= large.stat().st_size - 40


def test_the_ngram_knows_what_follows(tmp_path: Path) -> None:
    predictor = train_baseline("ngram", TEXTS, VOCABULARY, tmp_path)
    assert isinstance(predictor, Predictor)
    (scores,) = predictor.score([VOCABULARY.encode_message("how are")])
    assert [VOCABULARY.words[index] for index in np.argmax(scores, axis=1)] == ["how", "are"]


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseline, match=r"one of unigram, ngram, .*, got parrot"):
        train_baseline("parrot", TEXTS, VOCABULARY, tmp_path)
