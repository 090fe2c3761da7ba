import multiprocessing

import numpy as np
import pytest

from evaluation.bench import train_step
from evaluation.bench.train_step import OnDevice, Setting, in_tensorflow
from model.network import NetworkShape

pytestmark = pytest.mark.slow  # starts the processes that it times

SETTING = Setting(
    shape=NetworkShape(vocabulary_size=50, embedding_size=6, num_units=8),
    batch_size=3,
    sequence_length=4,
    steps_per_turn=2,
)


def test_both_sides_walk_the_same_way_and_nothing_is_left_running() -> None:
    with in_tensorflow(SETTING) as reference:
        ours = OnDevice(reference.graph, SETTING, runtime=None)
        losses = np.array([(ours.step(), reference.step()) for _ in range(6)])
        times = ours.run(), reference.run()
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-5)
    assert losses[-1, 0] < losses[0, 0]
    assert min(times) > 0
    assert not multiprocessing.active_children()


def test_every_word_of_the_batch_is_a_target_in_the_vocabulary() -> None:
    batch = SETTING.batch()
    assert batch.tokens.shape == batch.targets.shape == (3, 4)
    assert batch.num_targets == 12
    assert (batch.tokens[:, 1:] == batch.targets[:, :-1]).all()
    assert batch.targets.min() >= 3
    assert batch.targets.max() < 50


def test_a_worker_that_does_not_start_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "_START_WITHIN_S", 0.01)
    with pytest.raises(TimeoutError, match="must start within"), in_tensorflow(SETTING):
        pass
    assert not multiprocessing.active_children()
