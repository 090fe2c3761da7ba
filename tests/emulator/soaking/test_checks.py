"""The checks can fail: honest evidence passes, and evidence that was tampered with is named in a sentence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy.ledger import GaussianSumReleased, encode_event
from aggregation_service.privacy.ledger_chain import GENESIS, LedgerRow, row_hash
from emulator.soaking.books import EndedRound, Ledger
from emulator.soaking.checks import check_acknowledged, check_ending, check_ledger, check_memory, compare_sum
from evaluation.soak.outcome import MemorySlope

GOAL = 4


def ended(number=1, *, counted=("a", "b"), is_closed=True, because="", **changes):
    return EndedRound(
        id=f"{number:032x}",
        number=number,
        is_closed=is_closed,
        because=because,
        model_version=number - 1,
        selected=5,
        reported=changes.pop("reported", len(counted)),
        counted=frozenset(counted),
        duration_s=60.0,
    )


def drawn(seed, count, size=50):
    """Weights before, and as many updates as devices: all of about the size of real ones."""
    generator = np.random.default_rng(seed)
    before = (generator.normal(0, 0.3, size) * (generator.random(size) < 0.9)).astype(np.float32)
    updates = {f"{place:032x}": generator.normal(0, 0.02, size).astype(np.float32) for place in range(count)}
    return before, updates


def released(before, updates):
    """As the service does it: summed in float64, rounded once."""
    total = sum(update.astype(np.float64) for update in updates)
    return (before.astype(np.float64) + total / GOAL).astype(np.float32)


evidence = {"seed": st.integers(0, 2**32), "count": st.integers(1, 9)}


@settings(max_examples=50)
@given(**evidence)
def test_a_true_sum_is_within_its_one_rounding(seed, count):
    before, updates = drawn(seed, count)
    compared = compare_sum(ended(counted=updates), before, released(before, updates.values()), updates, GOAL)
    assert compared.failures == []
    assert compared.off <= 0.51
    assert compared.least_update > 1000


@settings(max_examples=50)
@given(**evidence, lost=st.integers(0, 8), factor=st.sampled_from([0, 2]))
def test_an_update_that_was_lost_or_counted_twice_is_found(seed, count, lost, factor):
    before, updates = drawn(seed, count)
    summed = [update * (factor if place == lost % count else 1) for place, update in enumerate(updates.values())]
    compared = compare_sum(ended(counted=updates), before, released(before, summed), updates, GOAL)
    (failure,) = compared.failures
    assert f"mean of the {count} updates" in failure
    assert compared.off > 0.9 * compared.least_update


def test_a_report_that_no_device_trained_is_found():
    before, updates = drawn(1, 2)
    _, _, failures = compare_sum(ended(counted=[*updates, "c"]), before, before, updates, GOAL)
    assert failures == ["round 1 must count what devices trained, counted 1 other reports"]


def test_marks_and_count_must_agree():
    before, updates = drawn(1, 2)
    after = released(before, updates.values())
    _, _, failures = compare_sum(ended(counted=updates, reported=3), before, after, updates, GOAL)
    assert failures == ["round 1 must mark 3 reports as counted, got 2"]


def test_what_was_acknowledged_must_be_counted():
    assert check_acknowledged(ended(counted=("a", "b")), {"a"}) == []
    assert check_acknowledged(ended(counted=("a", "b")), {"a", "c"}) == [
        "round 1 must count all 2 acknowledged reports, lost 1"
    ]


def test_a_round_is_abandoned_in_the_open():
    assert check_ending(ended(is_closed=False, because="key_lost")) == []
    assert check_ending(ended(is_closed=False)) == ["round 1 must say why it was abandoned, got nothing"]


def a_ledger(*numbers, at=100.0):
    """One that holds these rounds, in its chain."""
    rows, previous = [], GENESIS
    for place, number in enumerate(numbers, start=1):
        event = encode_event(
            GaussianSumReleased(
                round_id=f"{number:032x}",
                noise_multiplier=0.0,
                l2_clip_norm=1.0,
                model_version=number - 1,
                num_reports=2,
                max_participations=1,
            )
        )
        row = LedgerRow(place, "english", event, at, previous, row_hash("english", event, at, previous))
        rows.append(row)
        previous = row.sha256
    return Ledger(
        rows=tuple(rows),
        released=tuple((f"{number:032x}", at) for number in numbers),
        stored=dict.fromkeys(range(1, 9), 200.0),
    )


CLOSED = [ended(1), ended(2)]


def test_a_ledger_that_holds_each_release_once_passes():
    assert check_ledger(a_ledger(1, 2), CLOSED) == []
    assert check_ledger(replace(a_ledger(1, 2, 3), under_way=frozenset({f"{3:032x}"})), CLOSED) == []
    lost = ended(3, is_closed=False, because="key_lost")
    assert check_ledger(a_ledger(1, 2, 3), [*CLOSED, lost]) == []
    assert check_ledger(a_ledger(1, 2), [*CLOSED, lost]) == []


@pytest.mark.parametrize(
    ("ledger", "rounds", "told"),
    [
        (a_ledger(1), CLOSED, "round 2 must be in the ledger once, got 0 times"),
        (a_ledger(1, 2, 2), CLOSED, "round 2 must be in the ledger once, got 2 times"),
        (a_ledger(1, 2, 3), CLOSED, "the ledger must hold releases of rounds that were, has 1 others"),
        (a_ledger(1, 2, at=201.0), CLOSED[:1], "round 1 must be in the ledger before it is released, got there later"),
        (
            a_ledger(1, 2, 3),
            [*CLOSED, ended(3, is_closed=False, because="too_few_reports")],
            "round 3 is in the ledger and was abandoned, which too_few_reports cannot explain",
        ),
    ],
    ids=["missing", "twice", "stranger", "late", "unexplained"],
)
def test_a_ledger_that_was_tampered_with_is_found(ledger, rounds, told):
    assert told in check_ledger(ledger, rounds)


def test_a_row_that_was_changed_breaks_the_chain():
    ledger = a_ledger(1, 2)
    changed = ledger.rows[0]._replace(recorded_at=101.0)
    (failure,) = check_ledger(replace(ledger, rows=(changed, *ledger.rows[1:])), CLOSED)
    assert failure.startswith("the ledger's chain must hold, but ")


def slope(low, role="service"):
    return MemorySlope(role=role, kb_per_round=low + 50, low=low, high=low + 100, samples=9, processes=1)


def test_memory_fails_only_where_it_grows_for_certain():
    assert check_memory([slope(-20.0), slope(99.0), slope(150.0, "trainers")]) == []
    assert check_memory([slope(150.0)]) == [
        "memory of service must grow by at most 100 kB a round, grows by at least 150"
    ]
