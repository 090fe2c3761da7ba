"""A person's model: the cache as the typing log fills it, its tuned weight, and the switch that turns both off."""

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from device_runtime.storage.files import UnusableKey
from device_runtime.suggestions.next_word import NextWordModel, never
from device_runtime.suggestions.personal.blend import Blend
from device_runtime.suggestions.personal.cache import PersonalCache
from device_runtime.suggestions.personal.output_layer import DamagedLayer, OutputLayer
from device_runtime.suggestions.personal.tuning import Tuning, teach, tune
from device_runtime.typing_log.scrub import LINK, MAIL_ADDRESS, NUMBER, scrub
from tokenizer.text import Token, tokenize

MAX_LOG_WORDS = 20_000
"""Words of the log, the newest, that the cache is built from."""

TUNING = "personal-tuning"
LAYER = "personal-output-layer"
"""Names of what is kept in the log's sealed values."""

_PLACEHOLDERS = frozenset({MAIL_ADDRESS, LINK, NUMBER})
_logger = logging.getLogger(__name__)


class SealedValues(Protocol):
    """The log's small store of encrypted values, wiped with it."""

    def get(self, name: str) -> bytes | None:
        """The value, None if there is none."""

    def put(self, name: str, value: bytes) -> None:
        """Keeps a value."""

    def delete(self, name: str) -> None:
        """Deletes the value, if there is one."""


class Logged(Protocol):
    """A message of the log."""

    @property
    def text(self) -> str:
        """What was typed, scrubbed."""


class PersonalLog(Protocol):
    """What personalisation needs of `device_runtime.typing_log.TypingLog`."""

    @property
    def consent(self) -> bool:
        """Whether anything may be logged."""

    @property
    def personal(self) -> bool:
        """Whether suggestions may be personal."""

    @property
    def sealed(self) -> SealedValues:
        """Encrypted values, wiped with the log."""

    def messages(self, max_words: int) -> Sequence[Logged]:
        """The newest messages, oldest first."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is sealed.

    Attributes:
      tuning: what was found.
      model: identity of the shared model that it was found for.
      revision: random, so that another one tells every process to read the log again.

    """

    tuning: Tuning = Tuning()
    model: str = ""
    revision: str = ""


class PersonalModel:
    """Personalisation of one device. For one thread at a time; other processes may tune and wipe meanwhile.

    Guarantees:
      Words and their counts are held in memory only, rebuilt from the typing log; what is kept, sealed in the log, is
      the tuned weight and the fine-tuned weights, made anew from the log by every `refresh`. Without consent, with the
      switch off, after a wipe, and until tuning has found that it helps, there is no personalisation, and memory
      forgets as well, at the next `blend`. An expired message is forgotten by the next `refresh`.
    """

    def __init__(self, log: PersonalLog, *, new_cache: Callable[[], PersonalCache] = PersonalCache):
        """Takes the device's log, and how an empty cache is made."""
        self._log = log
        self._new_cache = new_cache
        self._forget()

    def _forget(self) -> None:
        self._sealed: bytes | None = None
        self._kept = _Kept()
        self._cache = self._new_cache()
        self._layer: OutputLayer | None = None
        self._blend: Blend | None = None

    def blend(self, model: NextWordModel) -> Blend | None:
        """What to suggest with; None while there is no personalisation.

        Args:
          model: the shared one. Fine-tuned weights are left out unless they were tuned for this very model.

        """
        self._follow_log()
        if not self._kept.tuning.helps:
            return None
        if self._blend is None or self._blend.model is not model:
            self._blend = self._new_blend(model)
        return self._blend

    def _new_blend(self, model: NextWordModel) -> Blend:
        return Blend(model, self._cache, self._kept.tuning.weight, self._layer_for(model))

    def _layer_for(self, model: NextWordModel) -> OutputLayer | None:
        return self._layer if self._kept.model == model.identity else None

    def learn(self, text: str) -> None:
        """Learns a message that the log has just admitted; takes about a millisecond a word.

        Raises:
          InvalidModel: the model failed.

        """
        if self._follow_log() or not self._kept.tuning.helps:
            return  # the log was read just now, with this message, or will be
        tokens = tokenize(scrub(text))
        model = None if self._blend is None else self._blend.model
        if model is not None and (layer := self._layer_for(model)) is not None:
            teach(model, layer, tokens)  # in memory: the next `refresh` learns it from the log
        self._cache.learn(tokens, unlearnt=_PLACEHOLDERS)
        if model is not None:
            self._blend = self._new_blend(model)

    def refresh(self, model: NextWordModel, *, should_stop: Callable[[], bool] = never) -> Tuning:
        """Tunes personalisation on the log, and keeps what helps; takes about a millisecond a word.

        Args:
          model: the shared one that suggests at present.
          should_stop: polled before every message.

        Returns:
          What was found; nothing helps without consent or with the switch off.

        Raises:
          InvalidModel: the model failed.
          Interrupted: `should_stop` said so; what was kept stays.
          sqlite3.Error: the log cannot be used.

        """
        found, layer = Tuning(), None
        if self._is_on():
            found, layer = tune(
                model, list(self._messages()), self._new_cache(), unlearnt=_PLACEHOLDERS, should_stop=should_stop
            )
        values = self._log.sealed
        if layer is None:
            values.delete(LAYER)
        else:
            values.put(LAYER, layer.to_bytes())
        kept = _Kept(tuning=found, model=model.identity, revision=secrets.token_hex(8))
        values.put(TUNING, msgspec.json.encode(kept))
        return found

    def _is_on(self) -> bool:
        return self._log.consent and self._log.personal

    def _messages(self) -> Iterator[list[Token]]:
        return (tokenize(message.text) for message in self._log.messages(MAX_LOG_WORDS))

    def _follow_log(self) -> bool:
        """Takes over what another process tuned, switched off or wiped; says whether the log was read anew."""
        try:
            sealed = self._log.sealed.get(TUNING) if self._is_on() else None
            if sealed == self._sealed:
                return False
            self._forget()
            if sealed is not None:
                self._take_over(sealed)
        except (sqlite3.Error, OSError, UnusableKey, msgspec.DecodeError, DamagedLayer) as error:
            _logger.warning("personalisation is off, its log failed: %s", type(error).__name__)
            self._forget()
            return False
        return self._kept.tuning.helps

    def _take_over(self, sealed: bytes) -> None:
        kept = msgspec.json.decode(sealed, type=_Kept)
        layer = self._log.sealed.get(LAYER) if kept.tuning.fine_tuned else None
        if kept.tuning.helps:
            for tokens in self._messages():
                self._cache.learn(tokens, unlearnt=_PLACEHOLDERS)
        self._layer = None if layer is None else OutputLayer.from_bytes(layer)
        self._sealed, self._kept = sealed, kept
