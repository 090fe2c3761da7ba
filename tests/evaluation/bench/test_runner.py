import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.bench.runner import compare, milliseconds, spread


class Scripted:
    """A contestant that tells who ran when."""

    def __init__(self, name: str, values: list[float], log: list[str]):
        self.name, self.values, self.log = name, iter(values), log

    def run(self) -> float:
        self.log.append(self.name)
        return next(self.values)


def test_sides_take_turns_and_warm_ups_do_not_count() -> None:
    log: list[str] = []
    turns: list[int] = []
    result = compare(
        "x",
        "ms",
        Scripted("ours", [99, 1, 2, 6], log),
        Scripted("theirs", [99, 4, 4, 5], log),
        repeats=3,
        details={"threads": 1},
        on_turn=lambda: turns.append(len(log)),
    )
    assert log == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert turns == [2, 4, 6, 8]
    assert (result.value, result.reference, result.ratio) == (2, 4, 0.5)
    assert result.ours.values == (1, 2, 6)
    assert result.theirs.iqr == 0.5


@given(st.lists(st.floats(0.1, 1e3), min_size=2, max_size=20))
def test_spread_lies_within_the_values(values: list[float]) -> None:
    summed = spread(values)
    assert min(values) <= summed.median <= max(values)
    assert 0 <= summed.iqr <= max(values) - min(values) + 1e-9


def test_one_measurement_is_none() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        spread([1.0])
    with pytest.raises(ValueError, match="repeats must be >= 2"):
        compare("x", "ms", Scripted("a", [], []), Scripted("b", [], []), repeats=1)


def test_milliseconds_calls_as_often_as_asked() -> None:
    calls: list[int] = []
    assert milliseconds(lambda: calls.append(1), times=4) >= 0
    assert len(calls) == 4
