"""People type at plausible hours, each message once, and take what is shown."""

from collections import Counter
from typing import NamedTuple

import msgspec
import pytest

from device_runtime.typing_log import TypingLog
from emulator.person import Person, PersonState, watch
from emulator.trace import DAY_S, HOUR_S

START = 20_458 * DAY_S
TEXTS = [f"alpha beta {word}" for word in ("one", "two", "three", "four", "five")]


class Suggestion(NamedTuple):
    word: str


@pytest.fixture
def person(tmp_path):
    path = tmp_path / "texts.json"
    path.write_bytes(msgspec.json.encode(TEXTS))
    return Person(seed="1", texts_path=path, zone_s=0.0, since=START, messages_per_day=6.0, history=0.4)


def test_the_log_holds_the_history_first_and_then_what_is_typed_in_order(person, tmp_path):
    folder, now = tmp_path / "device", START
    typed = []
    for hours in (0, 5, 24, 30, 48):
        now = START + hours * HOUR_S
        with TypingLog(folder / "log.sqlite", clock=lambda now=now: now) as log:
            typed += person.live(folder, log, now, None, lambda texts: texts)
            messages = [message.text for message in log.messages(10_000)]
    logged = messages[::-1] if messages[0] != TEXTS[0] else messages
    assert logged[:2] == TEXTS[:2]
    assert logged == [TEXTS[place % len(TEXTS)] for place in range(len(logged))]
    assert sum(each.messages for each in typed) == len(logged) - 2
    assert 4 <= len(logged) - 2 <= 22
    assert PersonState.load(folder).typed_until == now


def test_how_often_one_looks_changes_nothing_of_when_is_typed(person):
    whole = list(person._times(START, START + 3 * DAY_S))
    parts = [at for hour in range(72) for at in person._times(START + hour * HOUR_S, START + (hour + 1) * HOUR_S)]
    assert parts == whole
    assert whole == sorted(whole)


def test_nights_are_quiet(person):
    hours = Counter(int(at % DAY_S // HOUR_S) for at in person._times(START, START + 30 * DAY_S))
    assert sum(hours[hour] for hour in range(1, 5)) == 0
    assert sum(hours[hour] for hour in range(17, 23)) > sum(hours[hour] for hour in range(5, 11))


def test_a_word_is_taken_as_soon_as_it_shows():
    def suggest(before):
        return [Suggestion("beta")] if before.endswith("b") else []

    typed = watch("alpha beta", suggest)
    assert (typed.words, typed.shown, typed.accepted) == (2, 1, 1)
    assert (typed.keystrokes, typed.saved) == (len("alpha ") + len("beta "), 3)


def test_without_a_release_nothing_is_shown():
    typed = watch("alpha beta", None)
    assert (typed.words, typed.shown, typed.accepted, typed.saved) == (2, 0, 0, 0)
