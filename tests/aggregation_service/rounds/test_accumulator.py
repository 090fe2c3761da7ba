from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aggregation_service.rounds.accumulator import SumAccumulator, SumTaken


def test_sums_in_float64() -> None:
    """Ten thousand small numbers beside a large one: a float32 sum would lose them all."""
    accumulator = SumAccumulator(1)
    accumulator.add(np.array([2.0**24], np.float32))
    for _ in range(10_000):
        accumulator.add(np.array([0.5], np.float32))
    taken = accumulator.take()
    assert (taken.total[0], taken.num_updates) == (2**24 + 5000, 10_001)


def test_threads_lose_nothing() -> None:
    accumulator = SumAccumulator(5000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda value: accumulator.add(np.full(5000, value, np.float32)), range(200)))
    taken = accumulator.take()
    assert taken.num_updates == 200
    assert (taken.total == sum(range(200))).all()


def test_what_was_taken_is_gone() -> None:
    accumulator = SumAccumulator(2)
    accumulator.take()
    with pytest.raises(SumTaken):
        accumulator.take()
    with pytest.raises(SumTaken):
        accumulator.add(np.zeros(2, np.float32))


def test_a_wrong_shape_changes_nothing() -> None:
    accumulator = SumAccumulator(2)
    with pytest.raises(ValueError, match=r"update must have shape \(2,\), got \(1,\)"):
        accumulator.add(np.ones(1, np.float32))  # numpy would broadcast it
    taken = accumulator.take()
    assert taken.num_updates == 0
    assert not taken.total.any()
