from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_runtime.suggestions.personal.cache import BACK_OFF, BEGINNING, PersonalCache, context_after, in_context
from tokenizer.text import tokenize

MESSAGES = st.lists(st.text("abc .", max_size=20), max_size=12)


def learnt(messages, **bounds):
    cache = PersonalCache(**bounds)
    for message in messages:
        cache.learn(tokenize(message))
    return cache


def test_without_decay_counts_are_plain_counts():
    cache = learnt(["a b a b", "a b. c"], half_life_words=1e12)
    assert cache.counts(()) == pytest.approx({"a": 3, "b": 3, "c": 1})
    assert cache.counts(("a",)) == pytest.approx({"b": 3})
    assert cache.counts((BEGINNING, BEGINNING, BEGINNING)) == pytest.approx({"a": 2})
    assert cache.counts(("b", "a")) == pytest.approx({"b": 1})
    assert cache.counts(("b", ".")) == pytest.approx({"c": 1})
    assert cache.total(()) == pytest.approx(7)
    assert len(cache) == 3 + 4 + 5 + 5  # words; after <s>, a, b, "."; after two; after three


@given(MESSAGES, st.floats(1, 1e3))
def test_counts_decay_by_words(messages, half_life):
    cache = learnt(messages, half_life_words=half_life)
    typed = [token.text for message in messages for token in tokenize(message) if token.is_word]
    expected = Counter()
    for age, word in enumerate(reversed(typed)):
        expected[word] += 2 ** (-age / half_life)
    assert cache.counts(()) == pytest.approx(dict(expected))
    assert cache.total(()) == pytest.approx(sum(expected.values()))


def test_half_a_life_later_a_word_weighs_half():
    cache = learnt(["a", "b b b b"], half_life_words=4)
    assert cache.counts(())["a"] == pytest.approx(0.5)


@given(MESSAGES.filter(lambda messages: any(token.is_word for text in messages for token in tokenize(text))))
def test_shares_after_any_context_are_a_distribution(messages):
    cache = learnt(messages, half_life_words=50)
    for context in {context for text in messages for context, _ in in_context(tokenize(text))} | {("zz", "zz", "zz")}:
        assert sum(cache.share(word, context) for word in cache.counts(())) == pytest.approx(1)


def test_share_by_hand():
    cache = learnt(["a b a b", "a c"], half_life_words=1e12)
    alone = 2 / 6
    pair = (2 + BACK_OFF * alone) / (3 + BACK_OFF)
    assert cache.share("b", ("zz", "a")) == pytest.approx(pair)
    assert cache.share("b", (BEGINNING, "a")) == pytest.approx((1 + BACK_OFF * pair) / (2 + BACK_OFF))
    three = (BEGINNING, BEGINNING, "a")
    assert cache.share("b", three) == pytest.approx((1 + BACK_OFF * cache.share("b", three[1:])) / (2 + BACK_OFF))
    assert cache.share("zz", three) == 0
    assert PersonalCache().share("a", three) == 0


def test_a_word_is_the_persons_own_once_it_came_twice_and_until_it_fades():
    cache = learnt(["zorble"], half_life_words=10)
    assert list(cache.own_words()) == []
    cache.learn(tokenize("zorble"))
    assert list(cache.own_words()) == ["zorble"]
    cache.learn(tokenize("a b c d e f g h i j k l"))
    assert list(cache.own_words()) == []


@settings(max_examples=30)
@given(st.lists(st.text("abcdefghij ", min_size=1, max_size=60), max_size=30), st.integers(2, 60))
def test_it_never_holds_more_than_its_bound(messages, bound):
    cache = PersonalCache(max_entries=bound)
    for message in messages:
        cache.learn(tokenize(message))
        assert len(cache) <= bound
        held = sum(len(found) for found in cache._counts.values())
        assert held == len(cache)
        assert sum(cache._totals.values()) == pytest.approx(
            sum(sum(found.values()) for found in cache._counts.values())
        )


def test_what_is_forgotten_is_the_weakest():
    cache = learnt(["often often often often"] * 5 + [f"once{number}" for number in range(40)], max_entries=60)
    assert cache.counts(())["often"] > 15


def test_a_very_long_life_keeps_its_numbers_finite():
    cache = PersonalCache(half_life_words=1)
    for _ in range(2_000):
        cache.learn(tokenize("a b"))
    assert cache.counts(()) == pytest.approx({"b": 4 / 3, "a": 2 / 3})


def test_overlong_runs_and_placeholders_are_context_only():
    cache = PersonalCache()
    cache.learn(tokenize("x" * 60 + " then placeholdermail again"), unlearnt=frozenset({"placeholdermail"}))
    assert set(cache.counts(())) == {"then", "again"}
    assert set(cache.counts(("placeholdermail",))) == {"again"}


def test_spelling_is_the_last_inside_a_sentence_and_no_shout():
    cache = learnt(["my Zorble", "ZORBLE. Flink", "that ZORBLE"])
    assert cache.spelling("zorble") == "Zorble"
    assert cache.spelling("flink") == "flink"
    cache.learn(tokenize("my zorble"))
    assert cache.spelling("zorble") == "zorble"


@given(st.lists(st.text("ab .", max_size=12), max_size=3))
def test_contexts_agree(texts):
    for text in texts:
        tokens = tokenize(text)
        for position, (context, token) in enumerate(in_context(tokens)):
            assert context == context_after(tokens[:position])
            assert token == tokens[position]


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_learnt(text):
    cache = learnt([text, text])
    assert all(word.encode() for word in cache.own_words())


@pytest.mark.parametrize("bounds", [{"half_life_words": 0}, {"max_entries": 1}])
def test_absurd_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match=f"{next(iter(bounds))} must be"):
        PersonalCache(**bounds)
