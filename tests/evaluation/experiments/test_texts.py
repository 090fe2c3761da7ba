import dataclasses
import json
from pathlib import Path

import pytest

from evaluation.experiments.settings import TextSettings
from evaluation.experiments.texts import make_vocabulary, read_texts
from tokenizer.text import PUNCTUATION
from tokenizer.vocabulary import NUM_SPECIAL


def text_of(number: int) -> str:
    return f"word{'abcdefgh'[number % 8]} said time{chr(97 + number)}"


def write_corpus(path: Path, people: int, messages: int) -> str:
    rows = [
        {"user": f"user{user}", "sent_at": float(1000 * user + number), "text": text_of(number)}
        for user in range(people)
        for number in range(messages)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)), encoding="utf-8")
    return str(path)


@pytest.fixture
def settings(tmp_path):
    population = write_corpus(tmp_path / "people.jsonl", 30, 25)
    public = write_corpus(tmp_path / "public.jsonl", 3, 4)
    return TextSettings(population=population, public=(public,), held_out_share=0.3)


def test_people_are_split_and_nothing_is_lost(settings):
    texts = read_texts(settings)
    assert texts.training.keys() == texts.later.keys()
    assert not texts.training.keys() & texts.held_out.keys()
    assert len(texts.training) + len(texts.held_out) == 30
    assert all(len(texts.training[user]) == 20 and len(texts.later[user]) == 5 for user in texts.training)
    assert len(texts.public) == 12
    assert len(texts.pooled("pooled")) == len(texts.pooled("public")) + len(texts.pooled("population"))


def test_later_messages_are_the_last(settings):
    texts = read_texts(settings)
    for user in texts.later:
        assert texts.later[user] == [text_of(number) for number in range(20, 25)]


def test_who_wrote_little_is_left_out(settings, tmp_path):
    with pytest.raises(ValueError, match="at least 26 messages"):
        read_texts(TextSettings(population=settings.population, public=(), min_messages=26))


def test_public_devices_have_all_public_text_in_its_order_and_as_much_each_as_a_person(settings):
    texts = read_texts(settings)
    shards = texts.public_devices()
    assert [text for shard in sorted(shards) for text in shards[shard]] == texts.public
    assert {len(shard) for shard in shards.values()} == {12}
    longer = dataclasses.replace(texts, public=[text_of(number) for number in range(45)])
    assert sorted(map(len, longer.public_devices().values())) == [5, 20, 20]


def test_no_text_shows(settings):
    assert "word" not in repr(read_texts(settings))


def test_the_vocabulary_has_the_words_that_are_trained_on(settings):
    vocabulary = make_vocabulary(read_texts(settings), NUM_SPECIAL + len(PUNCTUATION) + 29)
    assert {"said", "worda", "wordh"} < set(vocabulary.words)
