import numpy as np
import pytest

from evaluation.answers import MISSED, Answers
from evaluation.evaluate.bootstrap import Bootstrap
from evaluation.evaluate.people import Person
from evaluation.evaluate.summing_up import (
    calibrate,
    calibration_error,
    compare,
    of_first_users,
    sum_up,
    sum_up_times,
    unknown_share,
)

PEOPLE = [Person("a", "nurses", (), (), 4), Person("b", "", (), (), 4), Person("c", "pilots", (), (), 2)]


def answers(ranks: list[int], *, scores: bool = True) -> Answers:
    """Ten words of three people, of three to four letters, in messages of two and of five words."""
    rank = np.array(ranks)
    known = rank != MISSED
    letters = np.array([3, 4, 3, 4, 3, 4, 3, 4, 3, 12])
    return Answers(
        user=np.array([0] * 4 + [1] * 4 + [2] * 2),
        message_words=np.array([2] * 4 + [5] * 4 + [2] * 2),
        letters=letters,
        known=known,
        rank=rank,
        typed=np.where(rank < 3, 0, np.where(known, 1, letters)),
        log_likelihood=np.where(known & scores, -1.0, np.nan),
        confidence=np.full(10, 0.25 if scores else np.nan),
    )


MIXED = [0, 0, 2, MISSED, 0, 5, 5, MISSED, 0, 1]
BOOTSTRAP = Bootstrap(3, draws=100, seed=1)


def test_figures_by_hand() -> None:
    found = sum_up("mine", "by hand", answers(MIXED), PEOPLE, of_users=5, bootstrap=BOOTSTRAP)
    value = {name: interval.value for name, interval in found.measures.items()}
    assert (found.users, found.words, found.sample) == (3, 10, True)
    assert value["top1"] == pytest.approx(0.4)
    assert value["top3"] == pytest.approx(0.6)
    assert value["mrr3"] == pytest.approx((4 + 1 / 3 + 1 / 2) / 10)
    assert value["mrr"] == pytest.approx((4 + 1 / 3 + 1 / 2 + 2 / 6) / 10)
    assert value["keystroke_savings"] == pytest.approx((3 + 4 + 3 + 3 + 3 + 2 + 3 + 12) / (43 + 10))
    assert value["perplexity"] == pytest.approx(np.e)
    assert found.spreads["top1"].p50 == pytest.approx(0.5)  # of 50 %, 25 % and 50 %
    assert found.top1_by_percentile[0] == pytest.approx(0.25)
    assert len(found.top1_by_percentile) == 21


def test_slices_share_out_all_words() -> None:
    found = sum_up("mine", "by hand", answers(MIXED), PEOPLE, of_users=3, bootstrap=BOOTSTRAP)
    assert not found.sample
    assert [(each.name, each.users, each.words) for each in found.by_message_length] == [
        ("1 to 3 words", 2, 6), ("4 to 8 words", 1, 4)
    ]  # fmt: skip
    assert [(each.name, each.words) for each in found.by_group] == [("nurses", 4), ("pilots", 2)]
    assert found.by_group[1].measures["top1"].value == pytest.approx(0.5)
    assert [(each.name, each.words) for each in found.savings_by_letters] == [("3", 5), ("4", 4), ("10+", 1)]
    assert found.savings_by_letters[2].measures["keystroke_savings"].value == pytest.approx(12 / 13)


def test_without_probabilities_there_is_no_perplexity_and_no_calibration() -> None:
    found = sum_up("mine", "typed", answers(MIXED, scores=False), PEOPLE, of_users=3, bootstrap=BOOTSTRAP)
    assert set(found.measures) == {"top1", "top3", "mrr3", "keystroke_savings"} == set(found.spreads)
    assert found.calibration is None
    assert found.calibration_error is None


def test_a_calibrated_predictor_is_off_by_little_and_a_boaster_by_much() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.random(20_000)
    count = np.zeros(20_000, np.int64)
    hits = np.where(generator.random(20_000) < confidence, 0, 7)

    def with_confidence(shown: np.ndarray) -> float:
        known = np.ones(20_000, np.bool_)
        made = Answers(
            user=count, message_words=count, letters=count + 3, known=known, rank=hits, typed=count,
            log_likelihood=np.zeros(20_000), confidence=shown,
        )  # fmt: skip
        assert sum(each.words for each in calibrate(made)) == 20_000
        return calibration_error(calibrate(made))

    assert with_confidence(confidence) < 0.02
    assert with_confidence(np.ones(20_000)) == pytest.approx(0.5, abs=0.02)


def test_a_comparison_says_for_whom_it_is_worse() -> None:
    better_for_a = [0, 0, 0, MISSED, 7, 5, 5, MISSED, 0, 1]
    found = compare(("mine", answers(better_for_a)), ("theirs", answers(MIXED)), 3, BOOTSTRAP)
    assert (found.users, found.words) == (3, 10)
    assert found.differences["top1"].value == pytest.approx(0.0)
    assert found.ratios["top1"].value == pytest.approx(1.0)
    assert found.better_for["top1"] == pytest.approx(1 / 3)
    assert found.worse_for["top1"] == pytest.approx(1 / 3)


def test_less_perplexity_is_better() -> None:
    mine, theirs = answers(MIXED), answers(MIXED)
    mine.log_likelihood[mine.user == 0] += 0.5
    found = compare(("mine", mine), ("theirs", theirs), 3, BOOTSTRAP)
    assert found.differences["perplexity"].value < 0
    assert (found.better_for["perplexity"], found.worse_for["perplexity"]) == (pytest.approx(1 / 3), 0)


def test_a_sample_is_compared_on_its_users() -> None:
    few = of_first_users(answers([0] * 10, scores=False), 1)
    assert few.user.tolist() == [0] * 4
    found = compare(("typed", few), ("whole", answers(MIXED)), 1, Bootstrap(1, draws=10, seed=1))
    assert (found.users, found.words) == (1, 4)
    assert found.differences["top1"].value == pytest.approx(0.5)
    assert (found.measures["top1"].value, found.reference_measures["top1"].value) == (1.0, 0.5)
    assert "perplexity" not in found.differences


def test_unknown_words_and_times() -> None:
    unknown = unknown_share(answers(MIXED), 3, BOOTSTRAP)
    assert unknown is not None
    assert unknown.value == pytest.approx(0.2)
    latency = sum_up_times([float(each) for each in range(101)])
    assert (latency.median_ms, latency.p99_ms, latency.keystrokes) == (50.0, 99.0, 101)
