"""The words that a device votes for in all levels of one discovery: sealed, and gone when it ends or after 60 days."""

from pathlib import Path

import msgspec

from device_runtime.clock import Clock
from device_runtime.rounds.spool import WORDS_FILE
from device_runtime.storage.files import Sealer, UnreadableData, private_directory, write_atomically
from device_runtime.storage.keys import file_key

KEPT_S = 60 * 24 * 3600.0
"""As long as the typing log keeps a message: no choice outlives what it was made from by more than that."""

_CONTEXT = b"chosen words"


class _Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file holds; `chosen_at` is in seconds since 1970."""

    discovery_id: str
    chosen_at: float
    words: tuple[str, ...]


class ChosenWords:
    """One device's choice in one population: of one discovery at a time."""

    def __init__(self, directory: Path, clock: Clock):
        """Keeps the choice in `directory`, under the spool's key.

        Raises:
          UnusableKey: the key file is readable by others.
          OSError: the directory cannot be written.

        """
        self._path = private_directory(directory) / WORDS_FILE
        self._sealer = Sealer(file_key(directory / "spool.key"))
        self._clock = clock

    def recall(self, discovery_id: str) -> tuple[str, ...] | None:
        """What was chosen in that discovery; None where nothing was, or it is too old or cannot be read."""
        choice = self._read()
        return choice.words if choice is not None and choice.discovery_id == discovery_id else None

    def keep(self, discovery_id: str, words: tuple[str, ...]) -> None:
        """Keeps a choice, in place of that of any other discovery."""
        choice = _Choice(discovery_id=discovery_id, chosen_at=self._clock(), words=words)
        write_atomically(self._path, self._sealer.seal(msgspec.json.encode(choice), _CONTEXT))

    def forget(self) -> None:
        """Deletes the choice."""
        self._path.unlink(missing_ok=True)

    def forget_old(self) -> None:
        """Deletes a choice that is older than `KEPT_S`, from the future, or unreadable."""
        if self._path.exists() and self._read() is None:
            self.forget()

    def _read(self) -> _Choice | None:
        try:
            choice = msgspec.json.decode(self._sealer.open(self._path.read_bytes(), _CONTEXT), type=_Choice)
        except (FileNotFoundError, UnreadableData, msgspec.DecodeError):
            return None
        return choice if 0 <= self._clock() - choice.chosen_at < KEPT_S else None
