"""What the page acts upon: the log, the diary and the predictor of one device, behind three verbs."""

import logging
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from device_runtime.activity import note_keystroke
from device_runtime.diary import Diary
from device_runtime.rounds.spool import clear_spools
from device_runtime.runtime import InvalidModel
from device_runtime.storage.files import UnusableKey
from device_runtime.suggestions.predictor import Suggestion
from device_runtime.typing_log import Admission, FieldKind, TypingLog

APP = "keychorus-keyboard"
"""The page's name among the apps of the typing log; on the deny list it logs nothing."""

_logger = logging.getLogger(__name__)


class Suggests(Protocol):
    """What answers a keystroke; `device_runtime.suggestions.predictor.Predictor` does."""

    def suggest(self, text_before_cursor: str) -> list[Suggestion]:
        """The likeliest words, best first, at most three."""

    def reset(self) -> None:
        """Forgets the text."""


class Learns(Protocol):
    """What remembers a person's own words; `device_runtime.suggestions.personal.PersonalModel` does."""

    def learn(self, text: str) -> None:
        """Takes a message in that the log has admitted."""


@dataclass(frozen=True, kw_only=True)
class KeyboardDevice:
    """One device as the page sees it. Usable from several threads.

    Attributes:
      data_directory: of the device; holds the spools and the note of the last keystroke.
      log: what is typed goes there, if it admits it.
      diary: what the device did, in numbers.
      predictor: of this page alone; its state follows the one text that is typed.
      personal: learns what the log admits, and minds its switch itself; None without personalisation.
      model_version: of what suggests.
      privacy: of what suggests, a line.
      population: whose rounds this device takes part in: that of what suggests.

    """

    data_directory: Path
    log: TypingLog
    diary: Diary
    predictor: Suggests
    personal: Learns | None = None
    model_version: int
    privacy: str
    population: str
    _predicting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def suggest(self, text_before_cursor: str, kind: FieldKind) -> list[Suggestion]:
        """Answers a keystroke, and notes that there was one; never from what a sensitive field holds."""
        note_keystroke(self.data_directory)
        if kind is not FieldKind.TEXT:
            return []
        with self._predicting:
            return self.predictor.suggest(text_before_cursor)

    def send(self, text: str, kind: FieldKind) -> Admission:
        """Offers a finished message to the log, and to personalisation if the log admits it.

        Guarantees:
          A log or a personalisation that fails never raises: the page goes on.
        """
        admission = self.log.append(text, APP, field=kind)
        with self._predicting:
            if admission is Admission.STORED and self.personal is not None:
                self._learn(self.personal, text)
            self.predictor.reset()
        return admission

    def _learn(self, personal: Learns, text: str) -> None:
        try:
            personal.learn(text)
        except (InvalidModel, sqlite3.Error, OSError, UnusableKey) as error:
            _logger.warning("a message was logged but not learnt: %s", type(error).__name__)

    def wipe(self, *, with_key: bool) -> None:
        """Deletes what was typed for good: log, personalisation, and updates that wait to be sent.

        Args:
          with_key: delete the key of the log as well, so that not even a copy of the file can be read again.

        Raises:
          UnusableKey: the key's store cannot be reached; nothing was deleted.
          sqlite3.Error: the log cannot be written.
          OSError: nor can the directory.

        """
        with self._predicting:
            self.log.wipe(with_key=with_key)
            clear_spools(self.data_directory)
            self.predictor.reset()
