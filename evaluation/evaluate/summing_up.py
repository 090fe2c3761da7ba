"""From answers to findings: measures of a predictor on a population, and of one predictor beside another."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from evaluation.answers import Answers, DoubleArray
from evaluation.evaluate.bootstrap import MEASURES, SHARES, SUMS, Bootstrap, Interval, Measure, measure_of, sum_by_user
from evaluation.evaluate.outcome import Calibration, Comparison, Latency, Measured, Slice, Spread
from evaluation.evaluate.people import Person

LENGTHS = ((1, 3), (4, 8), (9, 16), (17, None))
"""Words of a message, from and to, for its slices."""
MOST_LETTERS = 10
"""Letters of a word from which on all share a slice."""
BINS = 10
"""Of calibration, equally wide."""
PERCENTILES = tuple(range(0, 101, 5))

Mask = npt.NDArray[np.bool_]


def sum_up(
    predictor: str, kind: str, answers: Answers, people: Sequence[Person], *, of_users: int, bootstrap: Bootstrap
) -> Measured:
    """All measures of one predictor on one population.

    Args:
      predictor: its name.
      kind: what it is, in words.
      answers: to all words of `people`.
      people: those who were asked for.
      of_users: how many the population has.
      bootstrap: over `people`.

    """
    sums = sum_by_user(answers, len(people))
    scores = not np.isnan(answers.confidence).all()
    found = {name: measure for name, measure in MEASURES.items() if scores or not measure.probabilities}
    return Measured(
        predictor=predictor,
        kind=kind,
        sample=len(people) < of_users,
        users=len(people),
        words=len(answers),
        measures=_intervals(sums, found, bootstrap),
        spreads={name: _spread(sums, measure) for name, measure in found.items()},
        top1_by_percentile=tuple(np.percentile(_by_user(sums, MEASURES["top1"]), PERCENTILES).tolist()),
        by_message_length=tuple(_slices(answers, len(people), _by_length(answers), SHARES, bootstrap)),
        by_group=tuple(_slices(answers, len(people), _by_group(answers, people), SHARES, bootstrap)),
        savings_by_letters=tuple(
            _slices(answers, len(people), _by_letters(answers), ("keystroke_savings",), bootstrap)
        ),
        calibration=calibrate(answers) if scores else None,
        calibration_error=calibration_error(calibrate(answers)) if scores else None,
    )


def compare(
    ours: tuple[str, Answers], reference: tuple[str, Answers], num_users: int, bootstrap: Bootstrap
) -> Comparison:
    """A predictor with the reference, user by user.

    Args:
      ours: name and answers to the words of the first `num_users` users, or of more.
      reference: likewise.
      num_users: users that both were asked for.
      bootstrap: over these users.

    """
    first, second = of_first_users(ours[1], num_users), of_first_users(reference[1], num_users)
    mine, theirs = sum_by_user(first, num_users), sum_by_user(second, num_users)
    scores = not any(np.isnan(answers.confidence).all() for answers in (first, second))
    found = {name: measure for name, measure in MEASURES.items() if scores or not measure.probabilities}
    gaps = {name: _gain(mine, theirs, measure) for name, measure in found.items()}
    return Comparison(
        predictor=ours[0],
        reference=reference[0],
        users=num_users,
        words=len(first),
        measures=_intervals(mine, found, bootstrap),
        reference_measures=_intervals(theirs, found, bootstrap),
        differences=_known({name: bootstrap.difference(mine, theirs, measure) for name, measure in found.items()}),
        ratios=_known({name: bootstrap.ratio(mine, theirs, measure) for name, measure in found.items()}),
        worse_for={name: float(np.mean(gap < 0)) for name, gap in gaps.items()},
        better_for={name: float(np.mean(gap > 0)) for name, gap in gaps.items()},
    )


def of_first_users(answers: Answers, num_users: int) -> Answers:
    """The answers to the words of the first few users."""
    kept = answers.user < num_users
    return replace(answers, **{each.name: getattr(answers, each.name)[kept] for each in fields(answers)})


def unknown_share(answers: Answers, num_users: int, bootstrap: Bootstrap) -> Interval | None:
    """The share of words that the vocabulary lacks."""
    return bootstrap.interval(sum_by_user(answers, num_users), Measure("unknown words", "unknown"))


def sum_up_times(milliseconds: Sequence[float]) -> Latency:
    """Median and 99th percentile.

    Args:
      milliseconds: of each keystroke, at least one.

    """
    median, p99 = np.percentile(milliseconds, (50, 99))
    return Latency(keystrokes=len(milliseconds), median_ms=float(median), p99_ms=float(p99))


def calibrate(answers: Answers) -> tuple[Calibration, ...]:
    """How often the first suggestion was right, by the probability that it was given.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599, section 2.
    """
    bins = np.minimum((answers.confidence * BINS).astype(np.int64), BINS - 1)
    columns = (np.ones(len(answers)), answers.confidence, answers.rank == 0)
    totals = np.stack([np.bincount(bins, column, BINS) for column in columns], axis=1).tolist()
    return tuple(
        Calibration(words=int(words), confidence=confidence / words, hits=hits / words)
        for words, confidence, hits in totals
        if words
    )


def calibration_error(bins: Sequence[Calibration]) -> float:
    """The expected calibration error: the mean gap over all words."""
    return sum(each.words * abs(each.confidence - each.hits) for each in bins) / sum(each.words for each in bins)


def _intervals(sums: DoubleArray, measures: dict[str, Measure], bootstrap: Bootstrap) -> dict[str, Interval]:
    return _known({name: bootstrap.interval(sums, measure) for name, measure in measures.items()})


def _known(intervals: dict[str, Interval | None]) -> dict[str, Interval]:
    return {name: interval for name, interval in intervals.items() if interval is not None}


def _by_user(sums: DoubleArray, measure: Measure) -> DoubleArray:
    """A measure of each user by itself, of those who have one; infinity is the largest float."""
    values = measure_of(sums, measure)
    return np.nan_to_num(values[~np.isnan(values)])


def _spread(sums: DoubleArray, measure: Measure) -> Spread:
    p10, p50, p90 = np.percentile(_by_user(sums, measure), (10, 50, 90)).tolist()
    return Spread(p10=p10, p50=p50, p90=p90)


def _gain(mine: DoubleArray, theirs: DoubleArray, measure: Measure) -> DoubleArray:
    """How much better each user is served; of those who have the measure."""
    first, second = measure_of(mine, measure), measure_of(theirs, measure)
    both = np.isfinite(first) & np.isfinite(second)
    gap: DoubleArray = first[both] - second[both]
    return -gap if measure.exponential else gap


def _slices(
    answers: Answers,
    num_users: int,
    masks: Iterator[tuple[str, Mask]],
    measures: Sequence[str],
    bootstrap: Bootstrap,
) -> Iterator[Slice]:
    for name, where in masks:
        if where.any():
            sums = sum_by_user(answers, num_users, where)
            yield Slice(
                name=name,
                users=int((sums[:, SUMS.index("words")] > 0).sum()),
                words=int(where.sum()),
                measures=_intervals(sums, {each: MEASURES[each] for each in measures}, bootstrap),
            )


def _by_length(answers: Answers) -> Iterator[tuple[str, Mask]]:
    for first, last in LENGTHS:
        name = f"{first} or more words" if last is None else f"{first} to {last} words"
        yield name, (answers.message_words >= first) & (answers.message_words <= (last or np.inf))


def _by_letters(answers: Answers) -> Iterator[tuple[str, Mask]]:
    for letters in range(1, MOST_LETTERS):
        yield str(letters), answers.letters == letters
    yield f"{MOST_LETTERS}+", answers.letters >= MOST_LETTERS


def _by_group(answers: Answers, people: Sequence[Person]) -> Iterator[tuple[str, Mask]]:
    groups = np.array([person.group for person in people])
    for group in sorted(set(groups.tolist()) - {""}):
        yield group, (groups == group)[answers.user]
