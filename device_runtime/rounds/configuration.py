"""A round's configuration as the device accepts it: signed, whole, sane, and no older than what it knows."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from protocol.checkpoints import apply_difference
from protocol.discovery.ballot import Ballot
from protocol.discovery.candidates import CandidateList, decode_candidates
from protocol.errors import MalformedMessage, WrongContent, WrongManifest
from protocol.manifest import FileEntry, Manifest, check_content
from protocol.plan import Plan, PrivacyPromise, decode_plan
from protocol.weights import Weights, decode_checkpoint
from tokenizer.vocabulary import Vocabulary

PLAN = "plan"
TRAINING_GRAPH = "training_graph"
CHECKPOINT = "checkpoint"
VOCABULARY = "vocabulary"
CHECKPOINT_BASE = "checkpoint_base"
CHECKPOINT_DIFFERENCE = "checkpoint_difference"
BASELINE_CHECKPOINT = "baseline_checkpoint"
CANDIDATES = "candidates"
REQUIRED_FILES = (PLAN, TRAINING_GRAPH, CHECKPOINT)
"""Names in a round's manifest. Without `VOCABULARY` the installed one serves. Where `CHECKPOINT_BASE` is named it is
worth keeping: `CHECKPOINT_DIFFERENCE` leads from it to this round's checkpoint, and others will to those of later
rounds. `BASELINE_CHECKPOINT` is what an evaluation compares the checkpoint with. A discovery of new words names
`PLAN` and `CANDIDATES` instead: it needs no model."""

_logger = logging.getLogger(__name__)


class PlainReports(Exception):
    """A plan whose reports the service would see, where the device's owner asks for secure aggregation."""


class NoiseByService(Exception):
    """A plan whose noise the service adds, or nobody, where the device's owner trusts devices alone with it."""


class WordsNotAllowed(Exception):
    """A plan that asks for votes for new words, which the device's owner did not allow."""


class WeakPromise(Exception):
    """A plan that promises less privacy than the device's owner asks for, or none."""


class RoundConfiguration(NamedTuple):
    """Everything that local training or evaluation needs besides the log."""

    plan: Plan
    graph: bytes
    checkpoint: Weights
    vocabulary: Vocabulary
    baseline: Weights | None = None


class DiscoveryConfiguration(NamedTuple):
    """Everything that a vote for new words needs besides the log and the words that the device chose."""

    plan: Plan
    ballot: Ballot
    candidates: CandidateList
    vocabulary: Vocabulary


def check_promise(plan: Plan, weakest: PrivacyPromise | None) -> None:
    """Refuses a plan that may cost the device more privacy than its owner allows.

    Args:
      plan: of a round.
      weakest: the largest epsilon and delta that the owner accepts; None for any.

    | the plan promises                 | its owner accepts | result |
    |-----------------------------------|-------------------|--------|
    | anything                          | anything          | passes |
    | nothing                           | up to some ε, δ   | raises |
    | ε and δ, both at most the owner's | up to some ε, δ   | passes |
    | a larger ε or a larger δ          | up to some ε, δ   | raises |

    Raises:
      WeakPromise: see there.

    """
    promise = plan.privacy.promise
    if weakest is None:
        return
    asked = f"this device's owner asks for ε <= {weakest.max_epsilon:g} at δ <= {weakest.delta:g}"
    if promise is None:
        raise WeakPromise(f"{asked}, the round promises nothing")
    if not promise.is_within(weakest):
        raise WeakPromise(f"{asked}, the round promises ε <= {promise.max_epsilon:g} at δ {promise.delta:g} only")


def load_round(
    manifest: Manifest, fetch: Callable[[FileEntry], bytes], installed: Vocabulary | None
) -> RoundConfiguration | DiscoveryConfiguration:
    """Loads the files that an opened manifest names.

    Args:
      manifest: signature and purpose are checked already.
      fetch: gives the verified content of an entry, from the cache or from the service.
      installed: the vocabulary this device came with.

    Raises:
      WrongManifest: a file that every such round needs is not named.
      MalformedMessage: the plan is absurd, or the list of candidates.
      WrongContent: a checkpoint does not fit the plan, or is not finite; or a list of candidates does not.
      InvalidVocabulary: the vocabulary is none.

    """
    plan = decode_plan(fetch(_require(manifest, PLAN)))
    if plan.ballot is not None:
        candidates = decode_candidates(fetch(_require(manifest, CANDIDATES)))
        candidates = plan.ballot.check_list(candidates)
        return DiscoveryConfiguration(plan, plan.ballot, candidates, _vocabulary(manifest, fetch, installed))
    for name in REQUIRED_FILES:
        _require(manifest, name)
    checkpoint = decode_checkpoint(_checkpoint(manifest, fetch), plan.tensors)
    vocabulary = _vocabulary(manifest, fetch, installed)
    entry = manifest.files.get(BASELINE_CHECKPOINT)
    baseline = None if entry is None else decode_checkpoint(fetch(entry), plan.tensors)
    return RoundConfiguration(plan, fetch(manifest.files[TRAINING_GRAPH]), checkpoint, vocabulary, baseline)


def _require(manifest: Manifest, name: str) -> FileEntry:
    if name not in manifest.files:
        raise WrongManifest(f"a round's manifest must name a file {name}")
    return manifest.files[name]


def _checkpoint(manifest: Manifest, fetch: Callable[[FileEntry], bytes]) -> bytes:
    """The checkpoint, by the difference to its base where there is one, else whole; the same bytes either way."""
    entry = manifest.files[CHECKPOINT]
    base, difference = manifest.files.get(CHECKPOINT_BASE), manifest.files.get(CHECKPOINT_DIFFERENCE)
    if base is None or difference is None:
        return fetch(entry)
    try:
        return check_content(apply_difference(fetch(base), fetch(difference)), entry)
    except (MalformedMessage, WrongContent) as error:
        _logger.warning("the difference does not lead to the checkpoint, which is downloaded whole: %s", error)
        return fetch(entry)


def _vocabulary(manifest: Manifest, fetch: Callable[[FileEntry], bytes], installed: Vocabulary | None) -> Vocabulary:
    entry = manifest.files.get(VOCABULARY)
    if installed is not None and entry in (None, FileEntry.of(installed.model)):
        return installed
    if entry is None:
        raise WrongManifest(f"a manifest must name a file {VOCABULARY} for a device without one")
    return Vocabulary(fetch(entry))
