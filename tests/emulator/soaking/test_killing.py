"""The killer: whom it kills follows its seed, each in turn, nobody while another comes back, nobody once it rests."""

import threading
import time

import pytest

from emulator.soaking.killing import Killer


def killer(names, *, seed=1, connections_per_kill=2, kill=lambda: True):
    killed = []

    def of(name):
        return lambda: (killed.append(name), kill())[1]

    return Killer({name: of(name) for name in names}, seed=seed, connections_per_kill=connections_per_kill), killed


def connect(made, times):
    for _ in range(times):
        made.on_connection()
        if made._under_way is not None:
            made._under_way.result(5)


def test_everybody_is_killed_as_often_as_everybody_else_in_an_order_that_the_seed_draws():
    orders = []
    for seed in (1, 1, 2):
        made, killed = killer(["worker", "coordinator", "service"], seed=seed)
        with made:
            connect(made, 40)
        for place in range(0, len(killed) - 2, 3):
            assert set(killed[place : place + 3]) == {"worker", "coordinator", "service"}
        assert made.done.total() == len(killed)
        orders.append(killed)
    assert orders[0] == orders[1] != orders[2]
    assert 10 <= len(orders[0]) <= 40


def test_while_somebody_comes_back_nobody_else_is_killed():
    back = threading.Event()
    made, killed = killer(["service"], kill=lambda: back.wait(5))
    with made:
        deadline = time.monotonic() + 5
        while not killed and time.monotonic() < deadline:
            made.on_connection()
        for _ in range(50):
            made.on_connection()
        assert killed == ["service"]
        back.set()
        made.wait()
        assert made.done == {"service": 1}


def test_who_rests_kills_nobody():
    made, killed = killer(["service"], connections_per_kill=1)
    with made:
        made.rest()
        connect(made, 20)
    assert killed == []


def test_nobody_to_kill_is_no_kill():
    made, killed = killer(["coordinator"], kill=lambda: False)
    with made:
        connect(made, 20)
    assert killed
    assert made.done.total() == 0


def test_a_service_that_does_not_come_back_is_told():
    def fail():
        raise RuntimeError("it did not come up")

    made, _ = killer(["service"], connections_per_kill=1, kill=fail)
    with made:
        made.require_well()
        while made._under_way is None or not made._under_way.done():
            made.on_connection()
        with pytest.raises(RuntimeError, match="did not come up"):
            made.wait()
        with pytest.raises(RuntimeError, match="did not come up"):
            made.require_well()
