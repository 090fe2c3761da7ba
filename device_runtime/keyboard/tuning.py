"""Personal suggestions for who only types: the page tunes them in the background, as the daemon does at night."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from device_runtime.runtime import InvalidModel
from device_runtime.storage.files import UnusableKey
from device_runtime.suggestions.next_word import Interrupted, NextWordModel
from device_runtime.suggestions.personal import PersonalModel
from device_runtime.typing_log import TypingLog

MESSAGES_BETWEEN = 20
"""So many new messages may change what helps."""

_logger = logging.getLogger(__name__)


class TunedPersonal:
    """Learns each message at once, and tunes in a thread: when it begins, and after every `MESSAGES_BETWEEN` messages.

    Guarantees:
      At most one tuning at a time; none outlives `close`. A failure is a line in the program's log, never an error.
    """

    def __init__(self, personal: PersonalModel, log: TypingLog, new_model: Callable[[], NextWordModel]):
        """Tunes for the first time.

        Args:
          personal: what suggests; it takes over by itself what is tuned here.
          log: the person's.
          new_model: loads the shared model; the one that suggests belongs to another thread.

        """
        self._personal = personal
        self._log = log
        self._new_model = new_model
        self._messages = 0
        self._stop = threading.Event()
        self._thread = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def learn(self, text: str) -> None:
        """Takes a message in that the log has admitted.

        Raises:
          InvalidModel: the shared model failed.
          sqlite3.Error, OSError, UnusableKey: the log cannot be read.

        """
        self._personal.learn(text)
        self._messages += 1
        if self._messages >= MESSAGES_BETWEEN and not self._thread.is_alive():
            self._messages = 0
            self._thread = self._start()

    def close(self) -> None:
        """Ends the tuning that runs, within a message."""
        self._stop.set()
        self._thread.join()

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._tune, name="personal-tuning", daemon=True)
        thread.start()
        return thread

    def _tune(self) -> None:
        try:
            PersonalModel(self._log).refresh(self._new_model(), should_stop=self._stop.is_set)
        except Interrupted:
            return
        except (InvalidModel, OSError, UnusableKey, sqlite3.Error) as error:
            _logger.warning("personalisation was not tuned: %s", type(error).__name__)
