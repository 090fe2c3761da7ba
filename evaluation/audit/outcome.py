"""What an audit found, typed: `audit.json` is this struct, and the page shows nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from device_runtime.storage.files import write_atomically
from evaluation.audit.membership import MembershipArm
from evaluation.audit.reconstruction import Reconstruction
from evaluation.audit.secret_sharer import SecretSharerArm

_Part = TypeVar("_Part", bound=msgspec.Struct)


class Audit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole audit.

    Attributes:
      format_version: of this schema.
      size: of the network, `small` or `full`.
      seed: with it, what can be the same is.
      weights: of the network.
      devices: in all.
      cohort: real devices of a round.
      phrase_rounds: of the runs with planted phrases.
      reconstruction: None if it was not asked for; so with the next two.
      secret_sharer: one for each model.
      membership: one for each mechanism.
      software: version by package.

    """

    format_version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    size: str
    seed: int
    weights: int
    devices: int
    cohort: int
    phrase_rounds: int
    reconstruction: Reconstruction | None = None
    secret_sharer: tuple[SecretSharerArm, ...] = ()
    membership: tuple[MembershipArm, ...] = ()
    software: dict[str, str]

    @property
    def contradictions(self) -> list[str]:
        """A sentence for each lower bound of epsilon above what was proven; empty for a sound mechanism."""
        return [sentence for arm in self.membership for sentence in arm.contradictions]


def encode_audit(audit: Audit) -> bytes:
    """Writes an audit as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(audit), indent=2) + b"\n"


class Kept:
    """Finished parts in a folder, so that none runs twice."""

    def __init__(self, folder: Path):
        """Takes the folder, which is made when the first part is kept."""
        self._folder = folder

    def get_or_run(self, key: str, kind: type[_Part], run: Callable[[], _Part]) -> _Part:
        """The part that was kept under `key`, or what `run` finds, which is kept then."""
        path = self._folder / f"part-{key}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.DecodeError):  # an earlier format: it runs again
            part = run()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.encode(part), durable=False)
        return part
