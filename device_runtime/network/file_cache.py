"""Downloads by content: a plan that stays the same for a thousand rounds is fetched once."""

import contextlib
from collections.abc import Collection
from pathlib import Path

from device_runtime.storage.files import private_directory, write_atomically
from protocol.errors import WrongContent
from protocol.manifest import FileEntry, check_content


class FileCache:
    """A directory of files named by their SHA-256. What is damaged counts as absent."""

    def __init__(self, directory: Path):
        self._directory = directory

    def get(self, entry: FileEntry) -> bytes | None:
        """The file that `entry` names, verified again, or None if it is absent or damaged."""
        try:
            return check_content((self._directory / entry.sha256).read_bytes(), entry)
        except (FileNotFoundError, WrongContent):
            return None

    def put(self, entry: FileEntry, content: bytes) -> None:
        """Keeps `content`.

        Raises:
          WrongContent: it is not what `entry` names.

        """
        check_content(content, entry)
        write_atomically(private_directory(self._directory) / entry.sha256, content, durable=False)

    def get_beginning(self, entry: FileEntry) -> bytes:
        """The first bytes of the file that `entry` names, unverified and fewer than all; none if none are kept."""
        try:
            beginning = self._beginning(entry).read_bytes()
        except FileNotFoundError:
            return b""
        return beginning if len(beginning) < entry.size_bytes else b""

    def put_beginning(self, entry: FileEntry, content: bytes) -> None:
        """Keeps what an interrupted download has brought so far; nothing forgets it."""
        if content:
            private_directory(self._directory)
            write_atomically(self._beginning(entry), content, durable=False)
        else:
            self._beginning(entry).unlink(missing_ok=True)

    def _beginning(self, entry: FileEntry) -> Path:
        return self._directory / f"{entry.sha256}.begun"

    def prune(self, keep: Collection[FileEntry]) -> None:
        """Deletes everything but the files of `keep`."""
        names = {name for entry in keep for name in (entry.sha256, self._beginning(entry).name)}
        with contextlib.suppress(FileNotFoundError):  # nothing was cached yet, or another process prunes too
            for path in list(self._directory.iterdir()):
                if path.name not in names:
                    path.unlink()
