"""The files of a round: named by a signed manifest, downloaded once, kept while they can be of use."""

from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.network.client import ServiceClient
from device_runtime.network.file_cache import FileCache
from device_runtime.rounds.configuration import (
    BASELINE_CHECKPOINT,
    CANDIDATES,
    CHECKPOINT,
    CHECKPOINT_DIFFERENCE,
    PLAN,
    DiscoveryConfiguration,
    RoundConfiguration,
    load_round,
)
from protocol.errors import ProtocolError, WrongManifest
from protocol.manifest import FileEntry, Manifest, decode_manifest, open_manifest
from protocol.messages import Selected
from protocol.plan import Plan, decode_plan
from tokenizer.vocabulary import Vocabulary

_OF_ONE_ROUND = (CHECKPOINT, CHECKPOINT_DIFFERENCE, BASELINE_CHECKPOINT)


class RoundFiles:
    """Opens what the service selected this device for."""

    def __init__(
        self,
        directory: Path,
        client: ServiceClient,
        population: str,
        public_key: Ed25519PublicKey,
        vocabulary: Vocabulary | None,
    ):
        """Keeps downloads in `directory`; `vocabulary` is the installed one, for manifests that name none."""
        self._cache = FileCache(directory)
        self._client = client
        self._population = population
        self._public_key = public_key
        self._vocabulary = vocabulary

    def open_manifest(self, selected: Selected, minimum_version: int) -> Manifest:
        """The manifest of an assignment.

        Raises:
          ProtocolError: not signed by the key, for something else, or of a model older than `minimum_version`.

        """
        return open_manifest(
            selected.manifest,
            self._public_key,
            purpose="round",
            population=self._population,
            minimum_version=minimum_version,
        )

    def load_plan(self, manifest: Manifest) -> Plan:
        """Reads the round's plan only.

        Raises:
          ProtocolError, and what a `ServiceClient` raises: see there.

        """
        if PLAN not in manifest.files:
            raise WrongManifest(f"a round's manifest must name a file {PLAN}")
        return decode_plan(self._fetch(manifest.files[PLAN]))

    def load(self, manifest: Manifest) -> RoundConfiguration | DiscoveryConfiguration:
        """Reads the round's files, and downloads those that are not kept.

        Raises:
          ProtocolError, InvalidVocabulary, and what a `ServiceClient` raises: see there.

        """
        return load_round(manifest, self._fetch, self._vocabulary)

    def keep_only(self, manifest: Manifest) -> None:
        """Deletes the files of other rounds; a discovery's names no model, and leaves that of training where it is."""
        if CANDIDATES not in manifest.files:
            self._cache.prune(manifest.files.values())

    def forget_checkpoint(self, selected: Selected) -> None:
        """Once a round is over its checkpoint is of no use, unless it is the base that later ones differ from; all else
        serves the next round too.
        """
        with suppress(ProtocolError):  # a manifest that was refused names nothing that we keep
            files = decode_manifest(selected.manifest.manifest).files
            if CANDIDATES in files:
                return
            self._cache.prune([entry for name, entry in files.items() if name not in _OF_ONE_ROUND])

    def _fetch(self, entry: FileEntry) -> bytes:
        content = self._cache.get(entry)
        if content is None:
            content = self._client.fetch_file(entry, self._cache)
            self._cache.put(entry, content)
        return content
