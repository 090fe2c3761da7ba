"""The person at a device: types a corpus at plausible hours, key by key, and takes the right word as soon as it shows.

What was typed is worked out when the device next acts: the messages since then, each at its time, each with the words
that the device's present release shows. A device that waits therefore costs nothing, and its log is as it would be.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from device_runtime.activity import note_keystroke
from device_runtime.releases.release import Release
from device_runtime.storage.files import write_atomically
from device_runtime.suggestions.predictor import Predictor
from device_runtime.typing_log import TypingLog
from emulator.trace import DAY_S, HOUR_S
from evaluation.typist import type_text

APP = "org.example.chat"
STATE_FILE = "person.json"
_BY_HOUR = (1, 0, 0, 0, 0, 1, 2, 4, 5, 5, 5, 6, 7, 6, 5, 5, 6, 7, 8, 9, 10, 10, 7, 3)
"""How busy each local hour is, from midnight on: quiet nights, lunch, long evenings."""
_LONGEST_AWAY_DAYS = 30
Alter = Callable[[Sequence[str]], Sequence[str]]


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed on one day of the rehearsal, and what suggestions were worth.

    Attributes:
      day: from 0.
      messages: logged or not.
      words: of those messages that were followed key by key.
      shown: of these, words before or in which anything was suggested.
      accepted: of these, words taken from what was shown.
      keystrokes: that the words would have cost, a space each included.
      saved: keystrokes that suggestions saved.

    """

    day: int
    messages: int = 0
    words: int = 0
    shown: int = 0
    accepted: int = 0
    keystrokes: int = 0
    saved: int = 0


class PersonState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person's device must remember of its person between two steps."""

    typed_until: float
    next_text: int = 0
    refreshed_at: float = -float("inf")

    @classmethod
    def load(cls, folder: Path) -> "PersonState | None":
        """Reads what `save` wrote into a device's folder; None where nobody has come yet."""
        try:
            return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=cls)
        except FileNotFoundError:
            return None

    def save(self, folder: Path) -> None:
        """Writes it into a device's folder."""
        values = msgspec.structs.asdict(self)
        if self.refreshed_at == -float("inf"):
            del values["refreshed_at"]  # JSON has no infinity
        write_atomically(folder / STATE_FILE, msgspec.json.encode(values), durable=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who types on a device.

    Attributes:
      seed: of this person.
      texts_path: JSON, a list of what is typed, in order; after the last the first comes again.
      zone_s: time zone, in seconds east of UTC.
      since: when the rehearsal begins, in seconds since 1970.
      messages_per_day: mean.
      history: share of the texts that the log holds when the person first comes; the rest is typed from then on.
      watched: share of the messages that are followed key by key; all are logged.

    """

    seed: str
    texts_path: Path
    zone_s: float
    since: float
    messages_per_day: float
    history: float = 0.0
    watched: float = 1.0

    def begin(self, folder: Path, log: TypingLog, now: float, alter: Alter) -> None:
        """Gives consent, and fills the log with what was typed over the days before `now`."""
        texts = alter(_texts(self.texts_path))
        known = round(self.history * len(texts))
        log.consent = True
        minutes = 20 * 60.0
        log.extend((text, APP, now - (known - place) * minutes) for place, text in enumerate(texts[:known]))
        PersonState(typed_until=now, next_text=known).save(folder)

    def live(self, folder: Path, log: TypingLog, now: float, show: Release | None, alter: Alter) -> list[Typed]:
        """Types what was to be typed since the last time, and saves how far that is.

        Args:
          folder: the device's.
          log: the device's, which takes the messages.
          now: up to when.
          show: the release that the device suggests with; None if it has none yet.
          alter: what is typed in place of the texts.

        Returns:
          What was typed, by day.

        """
        state = PersonState.load(folder)
        if state is None:
            self.begin(folder, log, now, alter)
            return []
        texts = alter(_texts(self.texts_path))
        times = list(self._times(state.typed_until, now)) if texts else []
        days: dict[int, Typed] = {}
        messages = []
        for place, at in enumerate(times, start=state.next_text):
            text = texts[place % len(texts)]
            messages.append((text, APP, at))
            day = int((at - self.since) // DAY_S)
            days[day] = add_typed(days.get(day, Typed(day=day)), self._follow(text, place, day, show))
        if messages:
            log.extend(messages)
            note_keystroke(folder, times[-1])
        msgspec.structs.replace(state, typed_until=now, next_text=state.next_text + len(times)).save(folder)
        return [days[day] for day in sorted(days)]

    def _times(self, after: float, until: float) -> Iterator[float]:
        """When messages are sent, in order: each local day's are drawn anew, from its date."""
        after = max(after, until - _LONGEST_AWAY_DAYS * DAY_S)
        first, last = (int((moment + self.zone_s) // DAY_S) for moment in (after, until))
        for day in range(first, last + 1):
            generator = random.Random(f"{self.seed} typing {day}")  # noqa: S311  # draws messages, guards nothing
            number = int(generator.uniform(0.4, 1.6) * self.messages_per_day + generator.random())
            hours = generator.choices(range(24), _BY_HOUR, k=number)
            drawn = sorted(day * DAY_S - self.zone_s + HOUR_S * (hour + generator.random()) for hour in hours)
            yield from (at for at in drawn if after < at <= until)

    def _follow(self, text: str, place: int, day: int, show: Release | None) -> Typed:
        if random.Random(f"{self.seed} watched {place}").random() >= self.watched:  # noqa: S311  # a sample
            return Typed(day=day, messages=1)
        return watch(text, None if show is None else _predictor(show).suggest, day)


def watch(text: str, suggest: Callable[[str], Sequence[object]] | None, day: int = 0) -> Typed:
    """Types one message key by key, by the rule of `evaluation.typist`."""
    shown = _Shown(suggest)
    words = accepted = keystrokes = saved = with_words = 0
    for typed in type_text(text, shown):
        length = len(typed.token.surface)
        words += 1
        keystrokes += length + 1
        accepted += typed.letters < length
        saved += length - typed.letters
        with_words += shown.take()
    return Typed(
        day=day, messages=1, words=words, shown=with_words, accepted=accepted, keystrokes=keystrokes, saved=saved
    )


class _Shown:
    """The device's predictor as `evaluation.typist` asks it; notes whether anything was shown for a word."""

    def __init__(self, suggest: Callable[[str], Sequence[object]] | None):
        self._suggest = suggest
        self._any = False

    def suggest(self, before: str, prefix: str) -> list[str]:
        if self._suggest is None:
            return []
        found = [suggestion.word for suggestion in self._suggest(before + prefix)]  # type: ignore[attr-defined]
        self._any = self._any or bool(found)
        return found

    def learn(self, message: str) -> None:
        """Nothing: one predictor serves many people here."""

    def take(self) -> bool:
        """Whether anything was shown since this was last asked."""
        found, self._any = self._any, False
        return found


def add_typed(one: Typed, other: Typed) -> Typed:
    """What both say together, of the day of `one`."""
    names = [name for name in Typed.__struct_fields__ if name != "day"]
    return Typed(day=one.day, **{name: getattr(one, name) + getattr(other, name) for name in names})


@lru_cache(maxsize=64)
def _texts(path: Path) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(path.read_bytes(), type=list[str]))


_predictors: dict[str, Predictor] = {}


def _predictor(release: Release) -> Predictor:
    """Loaded once for all devices of this process that have the same model: it takes the time of a hundred words."""
    key = release.manifest.files["prediction_model"].sha256
    if key not in _predictors:
        if len(_predictors) >= 4:
            _predictors.pop(next(iter(_predictors)))
        _predictors[key] = release.predictor()
    return _predictors[key]
