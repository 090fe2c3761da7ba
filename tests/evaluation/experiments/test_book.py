import numpy as np
import pytest

from evaluation.experiments.book import UNFINISHED, Book, BookError, CurvePoint, Entry
from evaluation.experiments.settings import Central, Federated, TextSettings
from evaluation.metrics import Accuracy
from model.network import SMALL, initial_weights
from tokenizer.training import train_vocabulary
from tokenizer.vocabulary import Vocabulary

TEXT = TextSettings(population="chitchat", public=(), size="small")
VOCABULARY = Vocabulary(train_vocabulary({f"w{chr(97 + n // 26)}{chr(97 + n % 26)}": 1.0 for n in range(400)}, 400))
LATER = Accuracy(top1=0.1, top3=0.2, keystroke_savings=0.3, perplexity=200.0, num_targets=10, num_unknown=1)


def entry(name="first", training=None):
    curve = (CurvePoint(round=1, top1=0.1),)
    return Entry(name=name, training=training or Central(), later=LATER, curve=curve, seconds=60.0)


@pytest.fixture
def book(tmp_path):
    return Book.begin(tmp_path / "book", TEXT, VOCABULARY)


def test_what_is_written_is_found(book):
    weights = initial_weights(SMALL, 1)
    book.unfinished("first", Central())
    book.write(entry(), weights)
    again = Book(book.folder)
    assert again.find("first") == entry()
    assert list(again.entries()) == [entry()]
    np.testing.assert_equal(again.weights("first"), weights)
    assert again.vocabulary.model == VOCABULARY.model
    assert not (book.folder / "first" / UNFINISHED).exists()
    assert again.table().row_count == 1


def test_a_book_is_about_one_text(book):
    assert Book.begin(book.folder, TEXT, VOCABULARY).text == TEXT
    with pytest.raises(BookError, match="other text"):
        Book.begin(book.folder, TextSettings(population="chitchat", public=(), size="small", seed=2), VOCABULARY)


def test_an_unfinished_experiment_goes_on_with_the_same_settings_only(book):
    folder = book.unfinished("first", Central())
    (folder / "state").write_bytes(b"1")
    assert (book.unfinished("first", Central()) / "state").exists()
    assert not (book.unfinished("first", Central(epochs=9)) / "state").exists()


def test_an_experiment_ends_once(book):
    book.unfinished("fed", Federated(start="first"))
    book.write(entry("fed", Federated(start="first")), initial_weights(SMALL, 1))
    with pytest.raises(BookError, match="ended already"):
        book.unfinished("fed", Federated(start="first"))


def test_what_is_not_there_is_said(book, tmp_path):
    with pytest.raises(BookError, match="experiment begin"):
        Book(tmp_path)
    with pytest.raises(BookError, match="experiment nowhere"):
        book.weights("nowhere")
