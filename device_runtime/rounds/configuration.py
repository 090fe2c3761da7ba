"""A round's configuration as the device accepts it: signed, whole, sane, and no older than what it knows."""

from collections.abc import Callable
from typing import NamedTuple

from protocol.errors import WrongManifest
from protocol.manifest import FileEntry, Manifest
from protocol.plan import Plan, decode_plan
from protocol.weights import Weights, decode_checkpoint
from tokenizer.vocabulary import Vocabulary

PLAN = "plan"
TRAINING_GRAPH = "training_graph"
CHECKPOINT = "checkpoint"
VOCABULARY = "vocabulary"
REQUIRED_FILES = (PLAN, TRAINING_GRAPH, CHECKPOINT)
"""Names in a round's manifest. `VOCABULARY` may be there too; without it the installed one serves."""


class RoundConfiguration(NamedTuple):
    """Everything that local training needs besides the log."""

    plan: Plan
    graph: bytes
    checkpoint: Weights
    vocabulary: Vocabulary


def load_round(
    manifest: Manifest, fetch: Callable[[FileEntry], bytes], installed: Vocabulary | None
) -> RoundConfiguration:
    """Loads the files that an opened manifest names.

    Args:
      manifest: signature and purpose are checked already.
      fetch: gives the verified content of an entry, from the cache or from the service.
      installed: the vocabulary this device came with.

    Raises:
      WrongManifest: a file that every round needs is not named.
      MalformedMessage: the plan is absurd.
      WrongContent: the checkpoint does not fit the plan, or is not finite.
      InvalidVocabulary: the vocabulary is none.

    """
    for name in REQUIRED_FILES:
        if name not in manifest.files:
            raise WrongManifest(f"a round's manifest must name a file {name}")
    plan = decode_plan(fetch(manifest.files[PLAN]))
    checkpoint = decode_checkpoint(fetch(manifest.files[CHECKPOINT]), plan.tensors)
    vocabulary = _vocabulary(manifest, fetch, installed)
    return RoundConfiguration(plan, fetch(manifest.files[TRAINING_GRAPH]), checkpoint, vocabulary)


def _vocabulary(manifest: Manifest, fetch: Callable[[FileEntry], bytes], installed: Vocabulary | None) -> Vocabulary:
    entry = manifest.files.get(VOCABULARY)
    if installed is not None and entry in (None, FileEntry.of(installed.model)):
        return installed
    if entry is None:
        raise WrongManifest(f"a manifest must name a file {VOCABULARY} for a device without one")
    return Vocabulary(fetch(entry))
