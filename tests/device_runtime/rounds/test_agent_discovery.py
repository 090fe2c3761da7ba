"""An agent's part in a discovery of new words: it votes for what it chose, level by level, if its owner allows it."""

import math

import msgspec
import numpy as np
import pytest

from device_runtime.environment import DeviceEnvironment
from device_runtime.rounds.agent import Agent, Enrolment
from device_runtime.rounds.agent_state import StateFile, Waiting
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms import TermsFile
from device_runtime.rounds.terms_in_words import tell_terms
from device_runtime.suggestions.blocked import BlockList
from protocol.discovery.ballot import Ballot
from protocol.discovery.candidates import CandidateList, encode_candidates, first_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.messages import CheckIn, decode_message
from protocol.plan import encode_plan
from protocol.update import decode_update

PARAMETERS = DiscoveryParameters(letters="abcdefghijklmnopqrstuvwxyz", steps=(1, 1, 1), max_words=3, max_prefixes=26)
FIRST = first_candidates(PARAMETERS.letters, 1)
SECOND = CandidateList(letters=PARAMETERS.letters, step=1, prefixes=("q", "z"))
LAST = CandidateList(letters=PARAMETERS.letters, step=1, prefixes=("qu", "zo"))
VOTED = [Event.SELECTED, Event.CONFIGURED, Event.VOTED, Event.REPORTED]


@pytest.fixture
def offer(service, plan, vocabulary):
    """Selects into a level of a discovery."""

    def select(candidates, level, *, discovery_id="5" * 32, content=None, **changes):
        ballot = Ballot(discovery_id=discovery_id, level=level, num_candidates=candidates.size, parameters=PARAMETERS)
        privacy = msgspec.structs.replace(plan.privacy, l2_clip_norm=math.sqrt(3))
        of_level = msgspec.structs.replace(plan, kind="discovery", privacy=privacy, discovery=ballot)
        files = {
            "plan": encode_plan(of_level),
            "candidates": content or encode_candidates(candidates),
            "vocabulary": vocabulary.model,
        }
        return service.offer({name: each for name, each in files.items() if each}, **changes)

    return select


@pytest.fixture
def typed(log, clock):
    """The log holds two words that no vocabulary has, in several messages each."""
    log.extend([("zo qu", "chat", clock.now - 10 + index) for index in range(3)])


def events(new_agent, count=4, **wishes):
    return [new_agent(**({"discovers_words": True} | wishes)).step().event for _ in range(count)]


def voted(report, candidates):
    votes = decode_update(report, candidates.size)
    assert set(votes) <= {0.0, 1.0}
    return {candidates.candidate(int(index)).text for index in np.flatnonzero(votes)}


def chosen_file(tmp_path):
    return tmp_path / "tests" / "words.sealed"


def test_a_device_votes_for_what_its_words_begin_with(*, new_agent, service, offer, typed, tmp_path):
    offer(FIRST, 0)
    assert events(new_agent) == VOTED
    assert voted(service.reports[0], FIRST) >= {"q", "z"}
    assert chosen_file(tmp_path).exists()
    assert not (tmp_path / "tests" / "update.sealed").exists()


def test_the_choice_is_kept_from_level_to_level_and_gone_after_the_last(
    *, new_agent, service, offer, typed, tmp_path, log, clock
):
    offer(FIRST, 0)
    assert events(new_agent) == VOTED
    log.wipe()
    log.extend([("zz zz", "chat", clock.now)])
    clock.now += 5_000
    offer(SECOND, 1)
    assert events(new_agent) == VOTED
    assert voted(service.reports[1], SECOND) == {"qu", "zo"}, "and not what is typed by now"
    assert chosen_file(tmp_path).exists()
    clock.now += 5_000
    offer(LAST, 2)
    assert events(new_agent) == VOTED
    assert voted(service.reports[2], LAST) == {"qu", "zo"}
    assert not chosen_file(tmp_path).exists()


def test_another_discovery_is_another_choice(*, new_agent, service, offer, typed, log, clock):
    offer(FIRST, 0)
    assert events(new_agent) == VOTED
    log.wipe()
    log.extend([("zu zu", "chat", clock.now)])
    clock.now += 5_000
    offer(SECOND, 1, discovery_id="6" * 32)
    assert events(new_agent) == VOTED
    assert voted(service.reports[1], SECOND) == {"zu"}


def test_who_has_no_unknown_word_votes_for_nothing(new_agent, service, offer):
    offer(FIRST, 0)
    assert events(new_agent) == VOTED
    assert voted(service.reports[0], FIRST) == set()


def test_blocked_words_are_never_voted_for(*, service, enrolled, offer, typed, log, conditions, clock, tmp_path):
    offer(FIRST, 0)
    enrolment = Enrolment(
        service_url=service.base_url,
        population="tests",
        public_key=service.key.public_key(),
        discovers_words=True,
    )
    environment = DeviceEnvironment(data_directory=tmp_path, conditions=conditions, clock=clock, jitter=lambda: 1.0)
    agent = Agent(environment, enrolment, log, blocked=BlockList(["zo"]))
    assert [agent.step().event for _ in range(4)] == VOTED
    assert voted(service.reports[0], FIRST) == {"q"}


def test_who_did_not_allow_it_refuses_and_says_so(new_agent, service, offer, typed, tmp_path):
    offer(FIRST, 0)
    assert events(new_agent, 2, discovers_words=False) == [Event.SELECTED, Event.REFUSED]
    assert service.reports == []
    assert not chosen_file(tmp_path).exists()
    offered = TermsFile(tmp_path / "tests").load().offer
    assert (offered.kind, offered.refusal) == (
        "discovery",
        "this device's owner did not allow discoveries of new words, the round is one",
    )
    assert "discovery; refused" in dict(tell_terms(TermsFile(tmp_path / "tests").load()))["last round"]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_check_in_says_who_allows_it_and_nothing_else(new_agent, service, offer, allowed):
    offer(FIRST, 0)
    new_agent(discovers_words=allowed).step()
    [body] = [body for (_, path), body in zip(service.requests, service.bodies, strict=True) if "check" in path]
    assert (b"discovers_words" in body) == allowed
    assert (decode_message(body, CheckIn).discovers_words is True) == allowed


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        encode_candidates(FIRST) + b" ",
        encode_candidates(SECOND),
        encode_candidates(first_candidates("abc", 1)),
        b'{"format_version":1,"letters":"ab","prefixes":["","a"],"step":1}',
        b" " * (512 * 1024 + 1),
    ],
    ids=["not a list", "not canonical", "another level's", "other letters", "two lengths", "too long"],
)
def test_a_hostile_list_of_candidates_is_refused(*, new_agent, service, offer, typed, content, tmp_path):
    offer(FIRST, 0, content=content)
    agent = new_agent(discovers_words=True)
    assert agent.step().event is Event.SELECTED
    outcome = agent.step()
    assert outcome.event is Event.REFUSED
    assert outcome.reason
    assert "\n" not in outcome.reason
    assert service.reports == []
    assert isinstance(StateFile(tmp_path / "tests" / "agent.json").load().phase, Waiting)


def test_a_discovery_without_a_list_is_refused(new_agent, service, offer, typed):
    offer(FIRST, 0)
    plan = next(
        content for content in service.files.values() if content.startswith(b'{"') and b"discovery_id" in content
    )
    service.offer({"plan": plan})
    agent = new_agent(discovers_words=True)
    agent.step()
    assert agent.step().reason == "a round's manifest must name a file candidates"


def test_the_model_of_training_stays_where_it_is(*, new_agent, service, offer, round_files, typed, clock, tmp_path):
    service.offer(round_files)
    assert events(new_agent)[-1] is Event.REPORTED
    before = {path.name for path in (tmp_path / "tests" / "cache").iterdir()}
    clock.now += 5_000
    offer(FIRST, 0)
    assert events(new_agent) == VOTED
    assert before <= {path.name for path in (tmp_path / "tests" / "cache").iterdir()}
