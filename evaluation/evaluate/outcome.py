"""What an evaluation found, typed: `report.json` is this struct, and the page shows nothing else."""

from typing import Annotated

import msgspec

from evaluation.evaluate.bootstrap import Interval


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measure at single users: each weighs the same, however much they typed.

    Attributes:
      p10: the user whom a tenth of all users is below; so on.
      p50: the median user.
      p90: the user whom a tenth of all is above.

    """

    p10: float
    p50: float
    p90: float


class Slice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measures of some of the targets.

    Attributes:
      name: which.
      users: who typed one of them.
      words: targets.
      measures: by name; those that every predictor has.

    """

    name: str
    users: int
    words: int
    measures: dict[str, Interval]


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Targets whose first suggestion had about the same probability.

    Attributes:
      words: targets.
      confidence: mean probability of the first suggestion.
      hits: share of targets that were it.

    """

    words: int
    confidence: float
    hits: float


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one keystroke, in milliseconds, on one machine; asked for one at a time."""

    keystrokes: int
    median_ms: float
    p99_ms: float


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One predictor on one population.

    Attributes:
      predictor: its name.
      kind: what it is, in words.
      sample: whether it was asked for a sample of the users only.
      users: that were asked for.
      words: targets.
      measures: by name, see `evaluation.evaluate.bootstrap.MEASURES`; those that it has.
      spreads: likewise, over users.
      top1_by_percentile: top-1 recall at each twentieth of the users, from the least to the best served: 21 values.
      by_message_length: slices by the words of a message.
      by_group: slices by user group; empty where the corpus names none.
      savings_by_letters: keystroke savings by the letters of the word, one slice each.
      calibration: by tenth of probability, the empty ones left out; None without probabilities.
      calibration_error: expected calibration error, the mean gap of confidence and hits over all targets.

    """

    predictor: str
    kind: str
    sample: bool
    users: int
    words: int
    measures: dict[str, Interval]
    spreads: dict[str, Spread]
    top1_by_percentile: tuple[float, ...]
    by_message_length: tuple[Slice, ...]
    by_group: tuple[Slice, ...]
    savings_by_letters: tuple[Slice, ...]
    calibration: tuple[Calibration, ...] | None
    calibration_error: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A predictor with the reference, on the users that both were asked for.

    Attributes:
      predictor: its name.
      reference: the other's.
      users: of both.
      words: their targets.
      measures: by name, the predictor's on these users.
      reference_measures: likewise, the reference's.
      differences: by measure, the predictor's minus the reference's.
      ratios: likewise, over the reference's.
      worse_for: by measure, share of users whom the reference serves better.
      better_for: share whom the predictor does.

    """

    predictor: str
    reference: str
    users: int
    words: int
    measures: dict[str, Interval]
    reference_measures: dict[str, Interval]
    differences: dict[str, Interval]
    ratios: dict[str, Interval]
    worse_for: dict[str, float]
    better_for: dict[str, float]


class PopulationFound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that was found on one population.

    Attributes:
      name: `held_out` or `trained`.
      title: for people.
      users: in all.
      words: targets in all.
      unknown: share of words that the vocabulary lacks.
      predictors: in the order in which they were named.
      comparisons: of each with the reference.

    """

    name: str
    title: str
    users: int
    words: int
    unknown: Interval | None
    predictors: tuple[Measured, ...]
    comparisons: tuple[Comparison, ...]


class RoundFound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint of a training run, on people who never trained (or, if there are none, who did)."""

    number: int
    top1: Interval
    top3: Interval


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole evaluation.

    Attributes:
      format_version: of this schema.
      seed: of split, samples and bootstrap.
      corpora: names of what people typed.
      training_corpora: names of further public text for baselines.
      training_messages: that baselines trained on: public text, and the earlier messages of people who trained.
      vocabulary_size: ids.
      reference: name of the predictor that the others are compared with.
      absent: a sentence for each predictor that was asked for and is not installed.
      settings: all others, by name.
      populations: that are not empty.
      latency: of one keystroke, by predictor.
      rounds: of `--rounds`; empty without.
      software: version by package.

    """

    format_version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    seed: int
    corpora: tuple[str, ...]
    training_corpora: tuple[str, ...]
    training_messages: int
    vocabulary_size: int
    reference: str
    absent: tuple[str, ...] = ()
    settings: dict[str, float | int | None]
    populations: tuple[PopulationFound, ...]
    latency: dict[str, Latency]
    rounds: tuple[RoundFound, ...]
    software: dict[str, str]


def encode_evaluation(evaluation: Evaluation) -> bytes:
    """Writes an evaluation as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(evaluation), indent=2) + b"\n"


def decode_evaluation(payload: bytes) -> Evaluation:
    """Reads what `encode_evaluation` wrote.

    Raises:
      msgspec.DecodeError: it is not that.

    """
    return msgspec.json.decode(payload, type=Evaluation)
