"""A release: the signed set of files that a keyboard suggests with, in a folder or fetched from the service.

| name in the manifest | file                      | holds                                      |
|----------------------|---------------------------|--------------------------------------------|
|                      | `manifest.json`           | the signed manifest                        |
|                      | `public_key.txt`          | the key it is signed by, in hexadecimal    |
| `prediction_model`   | `prediction_model.tflite` | int8 weights inside, signature `predict`   |
| `vocabulary`         | `vocabulary.model`        | SentencePiece `word` model                 |
| `casing`             | `casing.tsv`              | usual spellings                            |
| `privacy_statement`  | `privacy_statement.json`  | what protected the people it learned from  |
| `blocked_words`      | `blocked_words.txt`       | words never suggested; not every release   |
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_runtime.storage.files import private_directory, write_atomically
from device_runtime.suggestions.blocked import BlockList
from device_runtime.suggestions.next_word import NextWordModel
from device_runtime.suggestions.personal import PersonalModel
from device_runtime.suggestions.predictor import Predictor
from protocol.errors import WrongManifest
from protocol.manifest import (
    FileEntry,
    Manifest,
    SignedManifest,
    check_content,
    decode_manifest,
    decode_public_key,
    encode_public_key,
    open_manifest,
)
from protocol.messages import decode_message, encode_message
from tokenizer.casing import Casing
from tokenizer.vocabulary import Vocabulary

if TYPE_CHECKING:  # a process that only suggests does without an HTTP client's 10 MB
    from device_runtime.network.client import ServiceClient

MANIFEST_FILE = "manifest.json"
PUBLIC_KEY_FILE = "public_key.txt"
RELEASE_FILES = {
    "prediction_model": "prediction_model.tflite",
    "vocabulary": "vocabulary.model",
    "casing": "casing.tsv",
    "privacy_statement": "privacy_statement.json",
}
"""Name in the manifest -> file name."""
OPTIONAL_FILES = {"blocked_words": "blocked_words.txt"}
"""Likewise, of files that a release may do without."""

KNOWN_FILES = RELEASE_FILES | OPTIONAL_FILES
"""All that this version knows. Others that a manifest may name are left where they are."""


class IncompleteRelease(Exception):
    """A release folder that lacks a file."""


class Release(NamedTuple):
    """A verified release."""

    manifest: Manifest
    prediction_model: bytes
    vocabulary: bytes
    casing: bytes
    privacy_statement: bytes
    blocked_words: bytes = b""

    def predictor(self, *, personal: PersonalModel | None = None, blocked: BlockList | None = None) -> Predictor:
        """Loads what suggests.

        Args:
          personal: the person's own words, mixed in while they help.
          blocked: words never suggested, besides those that the release itself blocks.

        Raises:
          InvalidVocabulary, InvalidModel, InvalidBlockList, ValueError: a file is genuine but not what it should be.

        """
        return Predictor(
            self.prediction_model,
            Vocabulary(self.vocabulary),
            Casing.from_tsv(self.casing),
            personal=personal,
            blocked=BlockList.from_text(self.blocked_words) | (blocked or BlockList()),
        )

    def model(self) -> NextWordModel:
        """Loads the shared model alone.

        Raises:
          InvalidVocabulary, InvalidModel: a file is genuine but not what it should be.

        """
        return NextWordModel(self.prediction_model, Vocabulary(self.vocabulary))


def open_release(
    folder: Path, public_key: Ed25519PublicKey, *, population: str | None = None, minimum_version: int = 0
) -> Release:
    """Reads a release from a folder and verifies it.

    Args:
      folder: as `save_release` or the workstation wrote it.
      public_key: the pinned key. A key from the folder itself shows only that nothing is damaged.
      population: that the release must be for; None for whichever it says.
      minimum_version: of the model; the one in use, so that an older model is refused.

    Raises:
      IncompleteRelease: a file is missing.
      WrongSignature, WrongManifest, MalformedMessage, WrongContent: see `protocol.errors`.

    """
    signed = decode_message(_read(folder / MANIFEST_FILE), SignedManifest)

    def read(name: str, entry: FileEntry) -> bytes:
        return check_content(_read(folder / KNOWN_FILES[name]), entry)

    return open_signed(signed, read, public_key, population=population, minimum_version=minimum_version)


def fetch_release(
    client: "ServiceClient", public_key: Ed25519PublicKey, *, population: str, minimum_version: int = 0
) -> tuple[SignedManifest, Release]:
    """Downloads the newest release and verifies it, the manifest before the files.

    Raises:
      ServiceUnavailable, ServiceRefused, MalformedAnswer: see `device_runtime.network.client`.
      WrongSignature, WrongManifest, MalformedMessage: see `protocol.errors`.

    """
    signed = client.fetch_release(population)

    def fetch(_name: str, entry: FileEntry) -> bytes:
        return client.fetch_file(entry)

    return signed, open_signed(signed, fetch, public_key, population=population, minimum_version=minimum_version)


def save_release(
    folder: Path, signed: SignedManifest, files: Mapping[str, bytes], public_key: Ed25519PublicKey
) -> None:
    """Writes a release's files, the manifest last: a folder with a manifest is whole."""
    private_directory(folder)
    for name, file_name in KNOWN_FILES.items():
        if name in RELEASE_FILES or name in files:
            write_atomically(folder / file_name, files[name])
    write_atomically(folder / PUBLIC_KEY_FILE, (encode_public_key(public_key) + "\n").encode())
    write_atomically(folder / MANIFEST_FILE, encode_message(signed))


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Reads a public key file.

    Raises:
      IncompleteRelease: there is no such file.
      MalformedMessage: it does not hold 64 hexadecimal digits.

    """
    return decode_public_key(_read(path).decode("ascii", "replace").strip())


def open_signed(
    signed: SignedManifest,
    get: Callable[[str, FileEntry], bytes],
    public_key: Ed25519PublicKey,
    *,
    population: str | None,
    minimum_version: int = 0,
) -> Release:
    """Verifies a manifest, and then gets the files that it names.

    Args:
      signed: as received.
      get: gives the verified content of the file of a name.
      public_key: the pinned one.
      population: that the release must be for; None for whichever it says.
      minimum_version: of the model.

    Raises:
      WrongSignature, WrongManifest, MalformedMessage: see `protocol.errors`; before anything is got.

    """
    expected = population if population is not None else decode_manifest(signed.manifest).population
    manifest = open_manifest(
        signed, public_key, purpose="release", population=expected, minimum_version=minimum_version
    )
    for name in RELEASE_FILES:
        if name not in manifest.files:
            raise WrongManifest(f"a release's manifest must name a file {name}")
    named = [name for name in KNOWN_FILES if name in manifest.files]
    return Release(manifest, **{name: get(name, manifest.files[name]) for name in named})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise IncompleteRelease(f"a release must have a file {path}") from None
