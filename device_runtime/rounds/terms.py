"""The terms of privacy: what the last round offered, what this device's owner asks for, and whether they met."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from device_runtime.rounds.configuration import NoiseByService, PlainReports, WeakPromise, WordsNotAllowed
from device_runtime.storage.files import private_directory, write_atomically
from protocol.errors import ProtocolError
from protocol.plan import Plan, PrivacyParameters, PrivacyPromise, SecureAggregationParameters

TERMS_FILE = "terms.json"
"""Its name in a population's folder."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What this device's owner asks of a round, as `rounds.agent.Enrolment` has it.

    Attributes:
      require_secure_aggregation: rounds whose reports the service would see are refused.
      require_device_noise: rounds whose noise the service would add, or nobody, are refused.
      weakest_promise: rounds that promise less are refused; None: any is accepted.
      discovers_words: whether this device votes in discoveries of new words.

    """

    require_secure_aggregation: bool = False
    require_device_noise: bool = False
    weakest_promise: PrivacyPromise | None = None
    discovers_words: bool = False


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan of a round says of privacy: the signer's word.

    Attributes:
      kind: of the round.
      privacy: clipping, noise, separation and promise.
      secure_aggregation: None where the service sees each report.
      refusal: why this device did not take part, in a sentence; empty if it did.

    """

    kind: Literal["training", "evaluation", "discovery"]
    privacy: PrivacyParameters
    secure_aggregation: SecureAggregationParameters | None = None
    refusal: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, as far as this device knows them.

    Attributes:
      wishes: since `keychorus device run` was last started; None before.
      offer: of the last round whose plan was read; None before the first.

    """

    wishes: Wishes | None = None
    offer: Offer | None = None


class TermsFile:
    """The file that remembers them, to be shown. Nothing is decided by it, so a damaged one reads as an empty one."""

    def __init__(self, folder: Path):
        """Takes the population's folder, which need not exist."""
        self._path = folder / TERMS_FILE

    def load(self) -> Terms:
        """What is known.

        Raises:
          OSError: the file is there but cannot be read.

        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Terms)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Terms()

    def note_wishes(self, wishes: Wishes) -> None:
        """Remembers what the owner asks for from now on.

        Raises:
          OSError: the file cannot be written.

        """
        self._save(msgspec.structs.replace(self.load(), wishes=wishes))

    @contextmanager
    def noting(self, plan: Plan) -> Iterator[None]:
        """Remembers what `plan` offers, and whether it is refused within.

        Raises:
          OSError: the file cannot be written.

        """
        offer = Offer(kind=plan.kind, privacy=plan.privacy, secure_aggregation=plan.secure_aggregation)
        try:
            yield
        except (PlainReports, NoiseByService, WeakPromise, WordsNotAllowed, ProtocolError) as error:
            offer = msgspec.structs.replace(offer, refusal=str(error))
            raise
        finally:
            self._save(msgspec.structs.replace(self.load(), offer=offer))

    def _save(self, terms: Terms) -> None:
        private_directory(self._path.parent)
        write_atomically(self._path, msgspec.json.encode(terms), durable=False)
