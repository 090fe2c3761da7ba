"""Any text is an answer, never an error, and none of it is told."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_runtime.typing_log import Admission, FieldKind, TypingLog
from device_runtime.typing_log.message import MAX_MESSAGE_CHARS
from tokenizer.text import tokenize

EMOJI = "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd 1\ufe0f\u20e3"
HEBREW, ARABIC = "שלום עולם", "مرحبا بالعالم \u202eabc\u202c"
ANY_TEXT = st.one_of(
    st.text(st.characters()),  # lone surrogates and NUL, too
    st.binary().map(lambda each: each.decode("utf-8", "surrogateescape")),
    st.text(st.sampled_from("\0\ud800\udfff\u200d\u202e\ufeff\U0001f468aא0.@/")),
    st.builds(
        lambda piece, times: piece * times, st.text(st.characters(), min_size=1, max_size=3), st.integers(1, 9_000)
    ),
)
ANY_TIME = st.none() | st.floats()


@pytest.fixture(scope="module")
def shared_log(tmp_path_factory):
    with TypingLog(tmp_path_factory.mktemp("fuzzed") / "log.sqlite", clock=lambda: 1.7e9) as log:
        log.consent = True
        yield log


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY_TEXT, app=ANY_TEXT, at=ANY_TIME)
def test_any_text_is_stored_or_has_no_word(shared_log, caplog, text, app, at):
    shared_log.wipe() if shared_log.counts().messages > 50 else None
    before = shared_log.counts().messages
    admission = shared_log.append(text, app, at, field=FieldKind.TEXT)
    assert admission in (Admission.STORED, Admission.NO_WORDS)
    kept = list(shared_log.export())
    for message in kept:
        message.text.encode()
        message.app.encode()
        assert len(message.text) <= MAX_MESSAGE_CHARS
        assert any(token.is_word for token in tokenize(message.text))
    assert len(kept) <= before + 1
    assert caplog.records == []


@pytest.mark.parametrize(
    "text",
    ["", "  \n", EMOJI.replace("1", ""), "...", "\0", "\u202e\u202c", "\ufeff", "\ud800"],
    ids=["empty", "space", "emoji", "marks", "nul", "direction", "order mark", "surrogate"],
)
def test_messages_without_a_word_are_left_out(empty_log, text):
    assert empty_log.append(text, "chat") is Admission.NO_WORDS
    assert empty_log.extend([(text, "chat", 1.7e9)]) == 0


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (HEBREW, HEBREW),
        (ARABIC, ARABIC),
        ("nul\0inside", "nul\0inside"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        (b"caf\xe9 noir".decode("utf-8", "surrogateescape"), "caf? noir"),
        (f"family {EMOJI}", f"family {EMOJI}"),
        ("a" * 100_000, "a" * MAX_MESSAGE_CHARS),
    ],
    ids=["hebrew", "arabic", "nul", "surrogate", "latin-1", "emoji", "long"],
)
def test_odd_text_is_stored(empty_log, text, stored):
    assert empty_log.append(text, text) is Admission.STORED
    is_kept = [message.text for message in empty_log.messages(100)] == [stored]
    assert is_kept


@pytest.mark.timeout(120)  # quadratic work would take hours; emulated processors take a while
@pytest.mark.parametrize("word", ["x" * 100_000, "א" * 100_000, "e\u0301" * 50_000, "\ufdfa" * 100_000, "9" * 100_000])
def test_words_without_end_are_one_word_and_quick(empty_log, word):
    assert empty_log.append(word, "chat") is Admission.STORED
    assert empty_log.counts().bytes < 5 * MAX_MESSAGE_CHARS


def test_half_of_a_number_is_not_left_at_the_cut(empty_log):
    text = "a" * (MAX_MESSAGE_CHARS - 3) + " 123456789"
    assert empty_log.append(text, "chat") is Admission.STORED
    left = sum(letter.isdecimal() for letter in empty_log.messages(10)[0].text)
    assert left == 0


def test_a_failure_is_told_without_the_text(empty_log, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)

    def fail(*_, **__):
        raise OSError(5, "xylophone", "quarrel")

    monkeypatch.setattr(empty_log._vault, "write", fail)
    assert empty_log.append("xylophone quarrel", "secret-app") is Admission.FAILED
    assert empty_log.append("xylophone quarrel", "secret-app") is Admission.FAILED
    assert [record.message for record in caplog.records] == [
        "the typing log cannot be written, so nothing is logged: failed (OSError)"
    ]
