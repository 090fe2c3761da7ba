"""The spool: the one trained update that waits for its upload. An update can betray words, so it is sealed."""

from pathlib import Path

from device_runtime.storage.files import Sealer, UnreadableData, private_directory, write_atomically
from device_runtime.storage.keys import file_key

UPDATE_FILE = "update.sealed"
WORDS_FILE = "words.sealed"
"""What a device chose to vote for, beside the update (`chosen_words`)."""


def clear_spools(data_directory: Path) -> None:
    """Deletes what waits in the spools of all populations of a device, and the words that it chose to vote for: either
    comes of words that are wiped now.
    """
    for name in (UPDATE_FILE, WORDS_FILE):
        for path in data_directory.glob(f"*/{name}"):
            path.unlink(missing_ok=True)


class Spool:
    """Holds one update, named by its assignment."""

    def __init__(self, directory: Path):
        """Keeps update and key in `directory`. After a lost or damaged key a new one serves; what waited is lost.

        Raises:
          UnusableKey: the key file is readable by others.
          OSError: the directory cannot be written.

        """
        self._path = private_directory(directory) / UPDATE_FILE
        self._sealer = Sealer(file_key(directory / "spool.key"))

    def put(self, assignment_id: str, update: bytes) -> None:
        """Replaces what is held."""
        write_atomically(self._path, self._sealer.seal(update, assignment_id.encode()))

    def get(self, assignment_id: str) -> bytes:
        """The update of that assignment.

        Raises:
          UnreadableData: absent, damaged, or of another assignment.

        """
        try:
            return self._sealer.open(self._path.read_bytes(), assignment_id.encode())
        except FileNotFoundError:
            raise UnreadableData("the spool must hold the assignment's update, got nothing") from None

    def clear(self) -> None:
        """Deletes what is held."""
        self._path.unlink(missing_ok=True)
