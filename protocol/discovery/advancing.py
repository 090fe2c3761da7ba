"""From a level's noised counts to the next level: what survives, and why what one device alone has does not.

| here             | docs/new-words.md                                                        |
|------------------|--------------------------------------------------------------------------|
| `noise_deviation`| sigma: of the noise on each count, in devices                            |
| `num_candidates` | D: the most candidates that all levels together can have                 |
| `hidden_devices` | h: what at most so many devices have shall not come out                  |
| `chance`         | beta: that any of that does                                              |
| threshold        | T = h + sigma sqrt(2 ln(D / beta))                                       |
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocol.discovery.candidates import CandidateList
from protocol.discovery.parameters import MAX_CANDIDATES, DiscoveryParameters, num_extensions
from protocol.errors import NonFiniteUpdate

_UP = 1 + 2.0**-40  # the rounding of the formula and of counts that were noised


class Discovered(NamedTuple):
    """A word that came out, and the noised number of devices that voted for it."""

    word: str
    devices: float


class Level(NamedTuple):
    """What a level gave.

    Attributes:
      words: whose end survived, those with most votes first.
      candidates: of the next level; None if there is none, or nothing that could go on survived.

    """

    words: tuple[Discovered, ...]
    candidates: CandidateList | None


def survival_threshold(noise_deviation: float, parameters: DiscoveryParameters) -> float:
    """T: the noised count from which a candidate survives, in devices.

    Args:
      noise_deviation: sigma >= 0, of the noise on every count of every level, in devices.
      parameters: of the discovery.

    Guarantees:
      The chance that any candidate of any level, word or prefix, that at most `hidden_devices` devices vote for
      reaches T is at most `chance`; the proof is in docs/new-words.md. It holds for Gaussian and discrete Gaussian
      noise that is drawn anew in each level.

    Raises:
      ValueError: `noise_deviation` is negative or not finite.

    Source: prefixes level by level with a threshold, Zhu et al. 2020, arXiv 1902.08534; there sampling hides what one
    device has, here noise does.

    """
    if not (noise_deviation >= 0 and math.isfinite(noise_deviation)):
        raise ValueError(f"noise_deviation must be a finite number >= 0, got {noise_deviation}")
    num_candidates = sum(parameters.candidates_by_level)
    deviations = math.sqrt(2 * math.log(num_candidates / parameters.chance))
    return (parameters.hidden_devices + noise_deviation * deviations) * _UP


def advance(
    noised_counts: npt.NDArray[np.float64],
    candidates: CandidateList,
    threshold: float,
    *,
    next_step: int | None,
    max_prefixes: int,
) -> Level:
    """Service: keeps what reached the threshold, and makes the next level of it.

    Everything here is computed from counts that were noised already, so it costs no privacy.

    Args:
      noised_counts: float64 [candidates.size], in devices.
      candidates: that were voted on.
      threshold: T, of `survival_threshold`.
      next_step: letters that the next level adds; None after the last level.
      max_prefixes: of the next level. More survivors than this, or than `MAX_CANDIDATES` has room for: those with
        most votes go on.

    Raises:
      NonFiniteUpdate: NaN or infinity among the counts.
      ValueError: counts of another length, or a bound below 1.

    """
    if noised_counts.shape != (candidates.size,):
        raise ValueError(f"counts must be of {candidates.size} candidates, got shape {list(noised_counts.shape)}")
    if not np.isfinite(noised_counts).all():
        raise NonFiniteUpdate("counts must be finite")
    if max_prefixes < 1:
        raise ValueError(f"max_prefixes must be >= 1, got {max_prefixes}")
    reached = np.flatnonzero(noised_counts >= threshold)
    ranked = reached[np.argsort(-noised_counts[reached], kind="stable")]
    survivors = [(candidates.candidate(int(index)), float(noised_counts[index])) for index in ranked]
    words = tuple(Discovered(candidate.text, count) for candidate, count in survivors if candidate.is_word)
    prefixes = [candidate.text for candidate, _ in survivors if not candidate.is_word]
    if next_step is None or not prefixes:
        return Level(words, None)
    room = min(max_prefixes, MAX_CANDIDATES // num_extensions(len(candidates.letters), next_step))
    going_on = tuple(sorted(prefixes[:room]))
    return Level(words, CandidateList(letters=candidates.letters, step=next_step, prefixes=going_on))
