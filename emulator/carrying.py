"""A device that travels: its disk as bytes, a step of its agent made elsewhere, and what that changed brought back.

A step that trains needs nothing but the device's folder, the vocabulary and what its person types. It can therefore be
made on any machine, made again where it was lost, and has the same result everywhere.
"""

import dataclasses
import os
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from device_runtime.storage.files import write_atomically
from emulator.device import EmulatedDevice, Mishap, StepResult, World, forget_session, run_step

_STATE_FILE = "agent.json"


class File(NamedTuple):
    """One file of a disk."""

    content: bytes
    modified_ns: int


Disk = Mapping[str, File]
"""A device's files, by their path in its folder."""


class Changes(NamedTuple):
    """What a step did to a disk."""

    written: dict[str, File]
    removed: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Errand:
    """A step to be made elsewhere.

    Attributes:
      world: of the device; where its vocabulary lies means nothing there.
      device: likewise for its folder and its person's texts.
      now: virtual time at which the step begins.
      mishap: what cuts it short.
      disk: of the device.
      texts: what its person types; None if nobody does.

    """

    world: World
    device: EmulatedDevice
    now: float
    mishap: Mishap | None
    disk: Disk = dataclasses.field(repr=False)
    texts: bytes | None = dataclasses.field(repr=False)

    @classmethod
    def of(cls, world: World, device: EmulatedDevice, now: float, mishap: Mishap | None) -> "Errand":
        """Packs a device of this machine."""
        texts = None if device.person is None else device.person.texts_path.read_bytes()
        return cls(world=world, device=device, now=now, mishap=mishap, disk=read_disk(device.folder), texts=texts)


def run_errand(errand: Errand, vocabulary: bytes) -> tuple[StepResult, Changes]:
    """Makes a step in a folder that is gone afterwards. Where the errand came from, `apply` brings it to an end.

    Args:
      errand: a step that says nothing to the service.
      vocabulary: which the devices have installed.

    Raises:
      OSError: there is no room for the device.

    """
    with TemporaryDirectory(prefix="keychorus-device-") as name:
        folder = Path(name) / "disk"
        apply(Changes(dict(errand.disk), frozenset()), folder)
        device = dataclasses.replace(errand.device, folder=folder)
        if device.person is not None and errand.texts is not None:
            texts_path = Path(name) / "texts.json"
            texts_path.write_bytes(errand.texts)
            device = dataclasses.replace(device, person=dataclasses.replace(device.person, texts_path=texts_path))
        world = dataclasses.replace(errand.world, vocabulary_path=_installed(vocabulary))
        result = run_step(world, device, now=errand.now, mishap=errand.mishap, may_refresh=False)
        forget_session(device)
        return result, changes_between(errand.disk, read_disk(folder))


def read_disk(folder: Path) -> Disk:
    """All files in a folder and below."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): File(path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def changes_between(before: Disk, after: Disk) -> Changes:
    """What led from one disk to the other."""
    written = {name: file for name, file in after.items() if before.get(name) != file}
    return Changes(written, frozenset(before.keys() - after.keys()))


def apply(changes: Changes, folder: Path) -> None:
    """Makes changes to a disk: each file whole or not at all, and the agent's state last, as the agent writes it.

    Raises:
      OSError: the folder cannot be written.

    """
    for name in sorted(changes.written, key=lambda name: (Path(name).name == _STATE_FILE, name)):
        path, file = folder / name, changes.written[name]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, file.content, durable=False)
        os.utime(path, ns=(file.modified_ns, file.modified_ns))
    for name in changes.removed:
        (folder / name).unlink(missing_ok=True)


def _installed(vocabulary: bytes) -> Path:
    """Where this process keeps a vocabulary: read once for all devices that come."""
    path = Path(_home().name) / sha256(vocabulary).hexdigest()
    if not path.exists():
        write_atomically(path, vocabulary, durable=False)
    return path


@cache
def _home() -> TemporaryDirectory[str]:
    """Gone with the process."""
    return TemporaryDirectory(prefix="keychorus-worker-")
