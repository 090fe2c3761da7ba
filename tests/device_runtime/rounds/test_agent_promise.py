"""What a device's owner asks for: no word of the log goes into a round that promises less."""

import msgspec
import pytest

from device_runtime.rounds.outcome import Event
from protocol.plan import PrivacyPromise, encode_plan

ASKED = PrivacyPromise(max_epsilon=4.0, delta=1e-6)


@pytest.fixture
def offer(service, round_files, plan):
    """Selects whoever checks in into a round that promises this."""

    def with_promise(promise):
        privacy = msgspec.structs.replace(plan.privacy, promise=promise)
        return service.offer(round_files | {"plan": encode_plan(msgspec.structs.replace(plan, privacy=privacy))})

    return with_promise


def run(new_agent, count, asked=ASKED):
    """Every step is made by an agent of its own, as if the process had been killed after each."""
    outcomes = [new_agent(weakest_promise=asked).step() for _ in range(count)]
    return [outcome.event for outcome in outcomes], outcomes[-1].reason


@pytest.mark.parametrize(
    ("promise", "told"),
    [
        (None, "the round promises nothing"),
        (PrivacyPromise(max_epsilon=4.5, delta=1e-10), "the round promises ε <= 4.5 at δ 1e-10 only"),
        (PrivacyPromise(max_epsilon=0.1, delta=0.5), "the round promises ε <= 0.1 at δ 0.5 only"),
    ],
)
def test_a_weaker_promise_is_refused_before_anything_but_the_plan_is_downloaded(
    *, new_agent, service, offer, promise, told
):
    offer(promise)
    events, reason = run(new_agent, 2)
    assert events == [Event.SELECTED, Event.REFUSED]
    assert reason == f"this device's owner asks for ε <= 4 at δ <= 1e-06, {told}"
    assert len([path for method, path in service.requests if method == "GET"]) == 1
    assert service.reports == []


@pytest.mark.parametrize("promise", [ASKED, PrivacyPromise(max_epsilon=2.0, delta=1e-10)])
def test_a_promise_that_is_as_strong_is_taken(new_agent, service, offer, promise):
    offer(promise)
    new_agent(weakest_promise=ASKED).step()
    told = new_agent(weakest_promise=ASKED).step().numbers
    assert told == {"promised_epsilon": promise.max_epsilon, "promised_delta": promise.delta}
    assert run(new_agent, 2)[0][-1] is Event.REPORTED
    assert len(service.reports) == 1


def test_an_owner_who_asks_for_nothing_takes_any(new_agent, service, offer):
    offer(None)
    assert run(new_agent, 4, asked=None)[0][-1] is Event.REPORTED


def test_what_was_trained_before_the_owner_asked_is_not_reported(new_agent, service, offer, tmp_path):
    offer(PrivacyPromise(max_epsilon=8.0, delta=1e-10))
    assert run(new_agent, 3, asked=None)[0][-1] is Event.TRAINED
    assert run(new_agent, 1)[0] == [Event.REFUSED]
    assert service.reports == []
    assert not list(tmp_path.rglob("update.sealed"))
