"""Which release a device suggests with: a new one only if it is sound and not worse, the one before kept at hand."""

import hashlib
import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.releases.release import KNOWN_FILES, Release, open_signed
from device_runtime.releases.shelf import NoRelease, ReleaseShelf, ShelfState
from device_runtime.runtime import InvalidModel
from device_runtime.storage.files import AlreadyRunning, only_process, private_directory
from device_runtime.suggestions.blocked import InvalidBlockList
from device_runtime.suggestions.next_word import DoubleArray, Interrupted, log_likelihood, never
from device_runtime.suggestions.personal import PersonalModel
from device_runtime.suggestions.personal.model import PersonalLog
from protocol.errors import MalformedMessage, ProtocolError, WrongManifest, WrongSignature
from protocol.manifest import FileEntry, Manifest, SignedManifest, open_manifest
from tokenizer.text import tokenize
from tokenizer.vocabulary import InvalidVocabulary

if TYPE_CHECKING:  # only `refresh` needs an HTTP client
    from device_runtime.network.client import ServiceClient

__all__ = ["RELEASES", "AdoptionPolicy", "Decision", "NoRelease", "ReleaseKeeper", "ShelfState", "Verdict"]

RELEASES = "releases"
"""Name of the folder with a population's releases."""
_LOCK_FILE = "releases.lock"
_logger = logging.getLogger(__name__)

GetFile = Callable[[str, FileEntry], bytes]


class Verdict(StrEnum):
    """What became of the service's newest release. The reason for a refusal, never any text."""

    ADOPTED = "adopted"
    UNCHANGED = "unchanged"
    """It is the present one."""
    OLDER = "older"
    """It was signed before the present one, or its model is older and it is no rollback."""
    REFUSED_BEFORE = "refused before"
    """It was worse, or the person has gone back from it."""
    WRONG_SIGNATURE = "wrong signature"
    WRONG_MANIFEST = "wrong manifest"
    """For another purpose or population, or without a file that every release has."""
    DAMAGED = "damaged"
    """A file is not what the manifest names, or the answer was none."""
    UNUSABLE = "unusable"
    """Genuine, but the model does not load, or model and vocabulary do not fit each other."""
    WORSE = "worse"
    """Foresaw the device's own messages less well than the present one, by more than the margin."""
    NONE_YET = "none yet"
    """The service has no release."""
    UNREACHABLE = "unreachable"
    """The service, or the disk."""
    BUSY = "busy"
    """Another process of this device is at it."""
    INTERRUPTED = "interrupted"
    """The device may not compute just now; the next `refresh` begins anew."""


@dataclass(frozen=True, kw_only=True)
class AdoptionPolicy:
    """When a release counts as worse.

    Attributes:
      margin_nats: a new release may foresee the device's own words worse by this much, in nats a word, >= 0.
      min_words: with fewer words in the log there is no comparison, and the release is adopted, >= 1.
      max_words: of the newest messages, that are compared on.

    """

    margin_nats: float = 0.05
    min_words: int = 200
    max_words: int = 2_000

    def __post_init__(self) -> None:
        if not self.margin_nats >= 0:
            raise ValueError(f"margin_nats must be >= 0, got {self.margin_nats}")
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(f"min_words must be in [1, {self.max_words}], got {self.min_words}")


class Decision(NamedTuple):
    """What `refresh` decided.

    Attributes:
      verdict: adopted, or why not.
      model_version: of the release that it is about; None where none came.
      num_words: compared on; 0 without a comparison.
      gain_nats: of the new release over the present one, in nats a word; negative if it is worse.

    """

    verdict: Verdict
    model_version: int | None = None
    num_words: int = 0
    gain_nats: float = 0.0


class ReleaseKeeper:
    """Keeps one population's releases on a device, and decides about new ones."""

    def __init__(
        self,
        folder: Path,
        public_key: Ed25519PublicKey,
        population: str,
        *,
        log: PersonalLog | None = None,
        policy: AdoptionPolicy | None = None,
        should_stop: Callable[[], bool] = never,
    ):
        """Opens a folder, `<data directory>/<population>/releases`.

        Args:
          folder: need not exist.
          public_key: the pinned one.
          population: the device's.
          log: of the device, to compare releases on; without it a sound release is adopted without comparison.
          policy: when a release counts as worse.
          should_stop: polled for every message that is computed on, so that `refresh` ends within a second.

        """
        self._shelf = ReleaseShelf(folder, public_key, population)
        self._public_key = public_key
        self._population = population
        self._log = log
        self._policy = policy or AdoptionPolicy()
        self._should_stop = should_stop

    def state(self) -> ShelfState:
        """What is kept, by name."""
        return self._shelf.state()

    def current(self) -> Release:
        """The release to suggest with: the present one, or the one before it if its files are damaged.

        Raises:
          NoRelease: there is none that is whole.

        """
        return self._shelf.current()

    def rollback(self) -> Release:
        """Goes back to the release before the present one, which is not adopted again.

        Raises:
          NoRelease: there is none before it, or it is damaged.
          AlreadyRunning: another process adopts one just now.
          OSError: the folder cannot be written.

        """
        with self._alone():
            return self._shelf.rollback()

    def _alone(self) -> AbstractContextManager[None]:
        return only_process(private_directory(self._shelf.folder) / _LOCK_FILE)

    def refresh(self, client: "ServiceClient") -> Decision:
        """Asks the service for its newest release, and adopts it if it should be.

        Afterwards the weight of the person's own words is tuned for the release that suggests now. That reads and
        computes for seconds: call it when the device may work.

        Returns:
          What was decided; whatever the service answers, and whatever the disk does, this is a decision.

        Raises:
          TransferStopped: the client was told to end a download.

        """
        try:
            with self._alone():
                decision = self._consider_newest(client)
                self._tune(decision)
        except AlreadyRunning:
            return Decision(Verdict.BUSY)
        except Interrupted:
            return Decision(Verdict.INTERRUPTED)
        except OSError as error:
            _logger.warning("the releases cannot be written: %s", type(error).__name__)
            return Decision(Verdict.UNREACHABLE)
        _logger.info("release %s: %s", decision.model_version, decision.verdict.value)
        return decision

    def _consider_newest(self, client: "ServiceClient") -> Decision:
        from device_runtime.network.client import MalformedAnswer, ServiceRefused, ServiceUnavailable

        try:
            signed = client.fetch_release(self._population)
            return self.consider(signed, lambda _, entry: client.fetch_file(entry))
        except ServiceUnavailable:
            return Decision(Verdict.UNREACHABLE)
        except ServiceRefused:
            return Decision(Verdict.NONE_YET)
        except (MalformedAnswer, ProtocolError):
            return Decision(Verdict.DAMAGED)

    def consider(self, signed: SignedManifest, get: GetFile) -> Decision:
        """Adopts a release if it should be: verified first, then got, loaded, compared, and only then written.

        Args:
          signed: as received.
          get: gives the verified content of the file of a name; not asked for files that the present release has too.

        Raises:
          WrongContent, MalformedAnswer, ServiceUnavailable, ServiceRefused: as `get` does.
          OSError: the folder cannot be written.
          Interrupted: `should_stop` said so.

        """
        try:
            manifest = open_manifest(signed, self._public_key, purpose="release", population=self._population)
        except WrongSignature:
            return Decision(Verdict.WRONG_SIGNATURE)
        except (WrongManifest, MalformedMessage):
            return Decision(Verdict.WRONG_MANIFEST)
        state, name = self.state(), _folder_name(manifest, signed)
        present = self._shelf.open(state.current)
        if (verdict := _before_download(name, manifest, state, present)) is not None:
            return Decision(verdict, manifest.model_version)
        try:
            release = open_signed(signed, _sparing(get, present), self._public_key, population=self._population)
        except WrongManifest:
            return Decision(Verdict.WRONG_MANIFEST, manifest.model_version)
        decision = self._judge(release, present)
        if decision.verdict is Verdict.ADOPTED:
            self._shelf.adopt(name, signed, release)
        else:
            self._shelf.refuse(name)
        return decision

    def _judge(self, release: Release, present: Release | None) -> Decision:
        """Loads a verified release, and compares it with the present one."""
        version = release.manifest.model_version
        try:
            release.predictor()
            if release.manifest.is_rollback is True:  # the operator knows something that the log does not
                return Decision(Verdict.ADOPTED, version)
            ours = self._likelihood(release)
        except (InvalidModel, InvalidVocabulary, InvalidBlockList, ValueError):
            return Decision(Verdict.UNUSABLE, version)
        if present is None or len(ours) < self._policy.min_words:
            return Decision(Verdict.ADOPTED, version)
        gain = float((ours - self._likelihood(present)).mean())
        verdict = Verdict.WORSE if gain < -self._policy.margin_nats else Verdict.ADOPTED
        return Decision(verdict, version, len(ours), gain)

    def _likelihood(self, release: Release) -> DoubleArray:
        """How well a release foresees the device's own newest messages; empty where the log gives none."""
        try:
            messages = self._log.messages(self._policy.max_words) if self._log is not None else []
        except sqlite3.Error as error:
            _logger.warning("releases are not compared, the log failed: %s", type(error).__name__)
            messages = []
        tokens = [tokenize(message.text) for message in messages]
        return log_likelihood(release.model(), tokens, should_stop=self._should_stop)

    def _tune(self, decision: Decision) -> None:
        """Fits personalisation to the release that suggests now. Suggestions go on without it."""
        if self._log is None:
            return
        try:
            PersonalModel(self._log).refresh(self.current().model(), should_stop=self._should_stop)
        except NoRelease:
            return
        except (InvalidModel, InvalidVocabulary, sqlite3.Error) as error:
            _logger.warning("personalisation was not tuned: %s", type(error).__name__)
        except Interrupted:
            if decision.verdict is not Verdict.ADOPTED:  # that must be told; tuning comes again with the next `refresh`
                raise


def _folder_name(manifest: Manifest, signed: SignedManifest) -> str:
    return f"{manifest.model_version}-{hashlib.sha256(signed.manifest).hexdigest()[:16]}"


def _before_download(name: str, manifest: Manifest, state: ShelfState, present: Release | None) -> Verdict | None:
    """What can be decided by a verified manifest alone.

    Time only goes on: whatever was signed before the present release is refused, so that nobody can send an older one
    again, be it one that was withdrawn. What was signed later may still not bring an older model, unless the signer
    says that it is meant to.

    | signed             | its model | rollback | verdict |
    |--------------------|-----------|----------|---------|
    | before the present | any       | any      | `OLDER` |
    | later              | older     | no       | `OLDER` |
    | later              | older     | yes      | goes on |
    | later              | not older | any      | goes on |

    """
    if name in state.refused:
        return Verdict.REFUSED_BEFORE
    if present is None:
        return None
    if name == state.current:
        return Verdict.UNCHANGED
    held = present.manifest
    is_older_model = manifest.model_version < held.model_version and manifest.is_rollback is not True
    return Verdict.OLDER if is_older_model or manifest.created_at < held.created_at else None


def _sparing(get: GetFile, present: Release | None) -> GetFile:
    """Takes from the present release what it has already: a vocabulary seldom changes."""
    if present is None:
        return get
    held = {entry: getattr(present, name) for name, entry in present.manifest.files.items() if name in KNOWN_FILES}

    def get_or_reuse(name: str, entry: FileEntry) -> bytes:
        return held[entry] if entry in held else get(name, entry)

    return get_or_reuse
