"""Compressed checkpoints: what a round's manifest names instead of the exact weights, which stay with the optimiser.

    model version   0        1 ... 255        256       257 ...        operator's weights
    served file     base     base + int8      base      base + int8    base
                    fp16     difference       fp16      difference     fp16

A device that holds the base downloads the difference, half as long as the served file. All devices of a round train
from the same bits, whichever way they got them. See `protocol.checkpoints`.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from aggregation_service.storage.files import find_content, get_entry, put_file
from aggregation_service.storage.models import Checkpoint, find_checkpoint
from aggregation_service.storage.served import set_served, trained_versions
from protocol.checkpoints import make_difference
from protocol.errors import WrongContent
from protocol.manifest import FileEntry
from protocol.plan import TensorSpec
from protocol.weights import Weights, decode_checkpoint, encode_served

RENEWED_EVERY = 256
"""Versions after which there is a new base: the steps of 8 bits grow with the movement since the last one."""


class MissingFile(Exception):
    """A model version whose file is not in the database."""


def served_files(
    connection: Connection, population: str, checkpoint: Checkpoint, specs: Sequence[TensorSpec]
) -> dict[str, FileEntry]:
    """Stores what devices may download of a model version, and names it as a round's manifest does.

    | the version is             | names                                                          |
    |----------------------------|----------------------------------------------------------------|
    | a base                     | `checkpoint` and `checkpoint_base`, the same file               |
    | trained from one           | `checkpoint`, `checkpoint_base`, `checkpoint_difference`        |
    | beyond the range of float16| `checkpoint`, the exact file                                    |

    Args:
      connection: a write transaction.
      population: whose.
      checkpoint: the model version.
      specs: the plan's tensors.

    Guarantees:
      The same version gives the same files; the exact one stays as it is.

    Raises:
      WrongContent: the exact file does not hold the tensors of `specs`.
      MissingFile: it is not there.

    """
    weights = _exact(connection, checkpoint, specs)
    try:
        base = _base(connection, population, checkpoint.model_version, specs)
        if base is None:
            entry = put_file(connection, encode_served(weights))
            files = {"checkpoint": entry, "checkpoint_base": entry}
        else:
            made = make_difference(weights, base)
            files = {
                "checkpoint": put_file(connection, made.served),
                "checkpoint_base": FileEntry.of(base),
                "checkpoint_difference": put_file(connection, made.difference),
            }
    except WrongContent:  # weights that float16 cannot hold; training goes on, with larger downloads
        return {"checkpoint": get_entry(connection, checkpoint.file_sha256)}
    set_served(connection, population, checkpoint.model_version, files["checkpoint"].sha256)
    return files


def base_version(connection: Connection, population: str, model_version: int) -> int:
    """The model version that `model_version` differs from, itself if it is a base."""
    first = model_version - model_version % RENEWED_EVERY
    trained = trained_versions(connection, population, first, model_version)
    while model_version > first and model_version in trained:
        model_version -= 1
    return model_version


def _base(connection: Connection, population: str, model_version: int, specs: Sequence[TensorSpec]) -> bytes | None:
    """The served file of a version's base; None if the version is one."""
    version = base_version(connection, population, model_version)
    base = None if version == model_version else find_checkpoint(connection, population, version)
    if base is None:
        return None
    content = None if base.served_sha256 is None else find_content(connection, base.served_sha256)
    if content is not None:
        return content
    content = encode_served(_exact(connection, base, specs))
    set_served(connection, population, version, put_file(connection, content).sha256)
    return content


def _exact(connection: Connection, checkpoint: Checkpoint, specs: Sequence[TensorSpec]) -> Weights:
    content = find_content(connection, checkpoint.file_sha256)
    if content is None:
        raise MissingFile(f"the file of model version {checkpoint.model_version} is missing")
    return decode_checkpoint(content, specs)
