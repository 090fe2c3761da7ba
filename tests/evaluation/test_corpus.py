import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.corpus import (
    MAX_IDENTICAL,
    CorpusError,
    Message,
    clean,
    load_chitchat,
    load_corpus,
    load_jsonl,
    load_text,
)

RULES = ("no_letters", "address", "mashed", "repeated", "over_cap", "small_sender")


def said(user: str, texts: list[str]) -> list[Message]:
    return [Message(user, float(second), text) for second, text in enumerate(texts)]


def numbered(count: int) -> list[str]:
    return [f"message number {index}" for index in range(count)]


def test_repr_leaves_the_text_out() -> None:
    assert "secret" not in repr(Message("anna", 1.0, "my secret"))


def test_chitchat_is_what_its_docstring_says() -> None:
    messages = load_chitchat()
    assert len(messages) == 243_046
    assert len({message.user for message in messages}) == 1_196
    cleaned = clean(messages)
    assert list(cleaned.dropped.items()) == list(zip(RULES, (333, 9, 22, 233, 176_621, 4_121), strict=True))
    assert len(cleaned.messages) == 615
    assert sum(map(len, cleaned.messages.values())) == 61_707


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("\U0001f600 \U0001f600", "no_letters"),
        ("12 34!", "no_letters"),
        ("", "no_letters"),
        ("look at https://example.org", "address"),
        ("see www.example.org now", "address"),
        ("sdfghj qwrtpsdf", "mashed"),
        ("a" * 25, "mashed"),
        ("a" * 60, "mashed"),
        ("rhythm", None),
        ("hmm", None),
        ("well sdfghj that is my cat", None),
        ("yes", None),
    ],
)
def test_rules(text: str, rule: str | None) -> None:
    cleaned = clean([Message("anna", 1.0, text)], min_per_user=1)
    expected = dict.fromkeys(RULES, 0) | ({rule: 1} if rule else {})
    assert cleaned.dropped == expected
    assert bool(cleaned.messages) == (rule is None)


def test_copies_are_counted_by_sender_and_without_case() -> None:
    messages = said("anna", ["Yes", "yes", " yes ", "YES", "no"]) + said("ben", ["yes"])
    cleaned = clean(messages, min_per_user=1)
    assert cleaned.dropped["repeated"] == 4 - MAX_IDENTICAL
    assert [len(cleaned.messages[user]) for user in ("anna", "ben")] == [MAX_IDENTICAL + 1, 1]


def test_the_cap_keeps_the_earliest_and_small_senders_go() -> None:
    messages = said("anna", numbered(30)) + said("ben", numbered(4))
    cleaned = clean(reversed(messages), max_per_user=10, min_per_user=5)
    assert [message.sent_at for message in cleaned.messages["anna"]] == list(range(10))
    assert set(cleaned.messages) == {"anna"}
    assert cleaned.dropped["over_cap"] == 20
    assert cleaned.dropped["small_sender"] == 4


def test_messages_of_one_second_keep_their_order() -> None:
    messages = [Message("anna", 5.0, text) for text in numbered(20)]
    assert clean(messages).messages["anna"] == messages


@pytest.mark.parametrize(("least", "most"), [(0, 5), (6, 5), (-1, 5)])
def test_absurd_bounds_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="min_per_user must be in"):
        clean([], max_per_user=most, min_per_user=least)


texts = st.sampled_from(["yes", "no", "www.x.org", "!!", "bcdfghjk", *numbered(12)])
corpora = st.lists(st.builds(Message, st.sampled_from("abc"), st.integers(0, 9).map(float), texts), max_size=60)


@given(corpora, st.integers(1, 5), st.integers(0, 5))
def test_every_message_is_kept_or_booked(messages: list[Message], least: int, more: int) -> None:
    cleaned = clean(messages, min_per_user=least, max_per_user=least + more)
    assert sum(map(len, cleaned.messages.values())) + sum(cleaned.dropped.values()) == len(messages)
    for user, kept in cleaned.messages.items():
        assert least <= len(kept) <= least + more
        assert {message.user for message in kept} == {user}
        assert kept == sorted(kept, key=lambda message: message.sent_at)


@given(corpora)
def test_what_others_write_changes_nothing_for_a_sender(messages: list[Message]) -> None:
    alone = clean((message for message in messages if message.user == "a"), min_per_user=1)
    together = clean(messages, min_per_user=1)
    assert alone.messages.get("a") == together.messages.get("a")


ROWS = [
    {"user": "anna", "sent_at": "1970-01-01T00:01:00Z", "text": "hi"},
    {"user": "ben", "sent_at": "1970-01-02", "text": "h\u00e9", "more": [1]},
    {"user": "ben", "sent_at": "1970-01-01T01:00:00+01:00", "text": ""},
    {"user": "ben", "sent_at": 12.5, "text": "x"},
    {"user": "ben", "sent_at": 12, "text": "x"},
]


@pytest.mark.parametrize("name", ["chat.jsonl", "chat.jsonl.gz"])
def test_jsonl_is_read(tmp_path: Path, name: str) -> None:
    payload = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    data = payload.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    messages = load_jsonl(tmp_path / name)
    assert [message.sent_at for message in messages] == [60.0, 86_400.0, 0.0, 12.5, 12.0]
    assert [message.user for message in messages] == ["anna", "ben", "ben", "ben", "ben"]
    assert messages[1].text == "h\u00e9"


@pytest.mark.parametrize(
    "line",
    [
        b"not json, my secret",
        b'{"user": "a", "text": "my secret"}',
        b'{"user": 3, "sent_at": 1, "text": "my secret"}',
        b'{"user": "a", "sent_at": "yesterday, my secret", "text": "x"}',
        b'{"user": "a", "sent_at": 1, "text": "\xff my secret"}',
    ],
)
def test_a_bad_line_is_named_by_its_place_alone(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "chat.jsonl").write_bytes(b'{"user": "a", "sent_at": 1, "text": "x"}\n' + line)
    with pytest.raises(CorpusError, match=r"^chat\.jsonl:2 must be") as caught:
        load_jsonl(tmp_path / "chat.jsonl")
    assert "secret" not in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"absent\.jsonl cannot be read"):
        load_jsonl(tmp_path / "absent.jsonl")
    whole = gzip.compress(random.Random(1).randbytes(4_000))
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:100])
    with pytest.raises(CorpusError, match=r"cut\.jsonl\.gz"):
        load_jsonl(tmp_path / "cut.jsonl.gz")


def test_a_group_is_read_where_a_line_names_one(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text('{"user":"a","sent_at":1,"text":"hi","group":"nurses"}\n{"user":"b","sent_at":1.0,"text":"hi"}\n')
    assert [message.group for message in load_corpus(str(path))] == ["nurses", ""]


def test_a_plain_text_is_one_user_with_a_message_a_line(tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    path.write_text("first\n\nsecond\n", encoding="utf-8")
    assert load_corpus(str(path)) == [Message("diary.txt", 0.0, "first"), Message("diary.txt", 2.0, "second")]


@pytest.mark.parametrize("content", [None, b"\xff\xfe secret"])
def test_a_plain_text_that_cannot_be_read_is_not_quoted(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "diary.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"diary\.txt must be a UTF-8 text") as error:
        load_text(path)
    assert "secret" not in str(error.value)


def test_a_compressed_file_with_another_byte_in_it_is_told(tmp_path):
    whole = bytearray(gzip.compress(b'{"user": "a", "sent_at": 1, "text": "made up"}\n' * 50))
    whole[10] = 0xFF  # the first byte behind the header: no kind of block begins so
    (tmp_path / "bad.jsonl.gz").write_bytes(whole)
    with pytest.raises(CorpusError, match=r"bad\.jsonl\.gz"):
        load_jsonl(tmp_path / "bad.jsonl.gz")
