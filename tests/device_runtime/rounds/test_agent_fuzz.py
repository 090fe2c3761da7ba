"""Whatever the service answers in whichever phase: an outcome, a state that loads, and not a word typed in any log."""

import re

import pytest
from flask import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_runtime.rounds.agent_state import StateFile
from device_runtime.rounds.bookkeeping import LONGEST_RETRY_S
from device_runtime.rounds.outcome import Event, describe
from protocol.manifest import FileEntry
from protocol.messages import Receipt, encode_message

statuses = st.sampled_from([200, 200, 200, 201, 204, 301, 302, 304, 400, 401, 404, 409, 413, 429, 500, 503])
types = st.sampled_from(["application/json", "application/json", "application/problem+json", "text/html", ""])


@st.composite
def answers(draw, good):
    """An answer of the service's own that was changed a little, or anything."""
    content = draw(st.sampled_from(good) | st.binary(max_size=200))
    start = draw(st.integers(0, len(content)))
    content = content[:start] + draw(st.binary(max_size=3)) + content[start + draw(st.integers(0, 400)) :]
    return draw(statuses), draw(types), draw(st.sampled_from(good)) if draw(st.booleans()) else content


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_answer_gives_an_outcome(*, data, new_agent, log, service, round_files, clock, tmp_path, messages, caplog):
    caplog.set_level("DEBUG")
    selected = service.offer(round_files)
    receipt = Receipt(assignment_id=selected.assignment_id, reconnect_after_s=1.0)
    good = [encode_message(selected), encode_message(receipt), *round_files.values()]
    errs = data.draw(st.lists(st.none() | answers(good), min_size=6, max_size=6))
    outcomes = []
    for answer in errs:
        service.override = lambda answer=answer: (
            None if answer is None else Response(answer[2], answer[0], content_type=answer[1])
        )
        outcome = new_agent().step()
        assert isinstance(outcome.event, Event)
        assert 0 <= outcome.next_step_in_s <= max(LONGEST_RETRY_S, 366 * 24 * 3600)
        outcomes.append(describe(outcome))
        StateFile(tmp_path / "tests" / "agent.json").load()
        clock.now += outcome.next_step_in_s
    typed = {word for message in messages for word in re.findall(r"\w{6,}", message)}
    told = "".join(outcomes) + caplog.text
    assert not [word for word in typed if word in told]
    service.override = lambda: None
    clock.now += 400 * 24 * 3600  # whatever happened, the next round is an ordinary one
    log.extend([(text, "chat", clock.now - 60) for text in messages])
    service.offer(round_files)
    assert Event.REPORTED in [new_agent().step().event for _ in range(5)]
    clock.now += 2 * 24 * 3600


@pytest.mark.parametrize("name", ["plan", "training_graph", "checkpoint", "vocabulary"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_model_truncated_on_its_way_is_refused_or_fetched_again(new_agent, service, round_files, name, part):
    service.offer(round_files)
    whole = round_files[name]
    assert new_agent().step().event is Event.SELECTED
    service.files[FileEntry.of(whole).sha256] = whole[: int(part * len(whole))]
    outcome = new_agent().step()
    assert outcome.event is Event.REFUSED
    assert "content was wrong" in outcome.reason
    assert service.reports == []
