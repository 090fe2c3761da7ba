import os

import pytest


def compute():
    import tensorflow_federated as tff

    return tff.tensorflow.computation(lambda: 7)()


def test_the_worker_lives_in_the_block_only_however_it_ends():
    from emulator.simulation import runtime

    before = runtime._workers()
    for _ in range(2):  # and once more: TFF finds its worker gone and starts another
        with runtime.tff_runtime(num_threads=1):
            (worker,) = runtime._workers() - before
            held = {os.readlink(f"/proc/{worker}/fd/{number}") for number in (1, 2)}
            assert held == {os.devnull}, "nobody's pipe is held open"
            assert compute() == 7
            assert runtime._workers() - before == {worker}
        assert runtime._workers() == before
    with pytest.raises(KeyError), runtime.tff_runtime(num_threads=1):  # noqa: PT012
        compute()
        raise KeyError
    assert runtime._workers() == before
