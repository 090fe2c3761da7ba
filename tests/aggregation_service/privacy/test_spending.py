"""What is remembered is what accounting says, of any ledger and any two that begin alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation_service.privacy import spending
from aggregation_service.privacy.accounting import spent_on_worst_device
from aggregation_service.privacy.ledger import (
    CorrelatedSumReleased,
    GaussianSumReleased,
    LedgerEvent,
    ReleasesLost,
)
from aggregation_service.privacy.mechanisms.parameters import Tree
from aggregation_service.privacy.spending import spent_after_each, spent_by_round

DELTA = 1e-6


def fresh(number: int, noise: float, participations: int) -> LedgerEvent:
    return GaussianSumReleased(
        round_id=f"{number:032x}",
        model_version=number,
        num_reports=5,
        max_participations=participations,
        noise_multiplier=noise,
        l2_clip_norm=1.0,
    )


def step(number: int, noise: float = 2.0) -> LedgerEvent:
    """Of one device that is in every round."""
    return CorrelatedSumReleased(
        round_id=f"{number:032x}",
        task_id=1,
        model_version=number,
        step=number,
        mechanism=Tree(restart_every=4),
        num_reports=1,
        max_participations=number + 1,
        stream_participations=number + 1,
        min_separation=1,
        noise_multiplier=noise,
        l2_clip_norm=1.0,
    )


LOST = ReleasesLost(num_releases=2, after_round=1, noise_multiplier=1.5, l2_clip_norm=1.0)
RELEASED = st.lists(
    st.one_of(
        st.builds(fresh, st.integers(0, 9), st.sampled_from([0.0, 0.7, 3.0]), st.integers(1, 4)),
        st.just(LOST),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=40)
@given(RELEASED, RELEASED)
def test_each_is_what_accounting_says_of_the_ledger_until_then(
    first: list[LedgerEvent], then: list[LedgerEvent]
) -> None:
    for events in (first, first + then):
        found = spent_after_each(events, DELTA)
        assert found == [spent_on_worst_device(events[:count], DELTA) for count in range(1, len(events) + 1)]


def test_a_stream_is_accounted_as_a_whole_after_each_of_its_steps() -> None:
    """Its sensitivity grows with each step, which no sum over steps would tell."""
    events = [step(number) for number in range(5)]
    told = [spent.epsilon for spent in spent_by_round(events, DELTA).values()]
    assert told == [spent_on_worst_device(events[:count], DELTA).epsilon for count in range(1, 6)]
    assert told == sorted(told)


def test_a_ledger_that_grew_costs_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(events: list[LedgerEvent], delta: float) -> object:
        asked.append((len(events), delta))
        return spent_on_worst_device(events, delta)

    monkeypatch.setattr(spending, "spent_on_worst_device", counted)
    monkeypatch.setattr(spending, "_remembered", {})
    events = [fresh(number, 2.0, number + 1) for number in range(4)]
    spent_after_each(events[:3], DELTA)
    spent_after_each(events, DELTA)
    assert asked == [(1, DELTA), (2, DELTA), (3, DELTA), (4, DELTA)]
    spent_after_each(events, 1e-5)
    spent_after_each([fresh(0, 2.5, 1), *events[1:]], DELTA)
    assert len(asked) == 12, "another delta and another first event are other ledgers"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "_MOST_REMEMBERED", 3)
    monkeypatch.setattr(spending, "_remembered", {})
    events = [fresh(number, 2.0, number + 1) for number in range(8)]
    assert spent_after_each(events, DELTA)[-1] == spent_on_worst_device(events, DELTA)
    assert len(spending._remembered) <= 3


def test_by_round_is_the_last_that_it_released_and_what_was_lost_is_of_none() -> None:
    events = [fresh(0, 2.0, 1), LOST, fresh(1, 2.0, 2), fresh(1, 2.0, 3)]
    found = spent_by_round(events, DELTA)
    after = spent_after_each(events, DELTA)
    assert found == {f"{0:032x}": after[0], f"{1:032x}": after[3]}
    assert after[1].epsilon > after[0].epsilon
