"""A discovery of new words over the real service: level by level, booked, in turns with training, through restarts."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from aggregation_service import audit, operations
from aggregation_service.operations import DiscoverySettings, OperationError
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.accounting import privacy_spent
from aggregation_service.privacy.ledger import VotesReleased
from aggregation_service.pruning import unnamed_files
from aggregation_service.storage import books, models, rounds
from aggregation_service.storage.discoveries import find_candidates
from protocol import routes
from protocol.discovery.candidates import CandidateList, decode_candidates
from protocol.discovery.parameters import DiscoveryParameters
from protocol.discovery.votes import vote_vector
from protocol.manifest import decode_manifest
from protocol.messages import ComeBack, Selected
from protocol.plan import Plan, decode_plan
from protocol.update import encode_update

POPULATION = "en-gb"
PARAMETERS = DiscoveryParameters(letters="abcdefgh", steps=(2, 2), max_words=4, max_prefixes=5)
SETTINGS = DiscoverySettings(report_goal=5, minimum_reports=2, noise_multiplier=0.1)
SHARED, LONELY = "bade", "hag"
"""What all devices type, and what one does: two of its letters are a prefix of nobody else's."""


@pytest.fixture
def trained(rehearsal: Any, plans: Any) -> Any:
    """A population that trains."""
    rehearsal.create_task(plans(goal=1))
    return rehearsal


def create(rehearsal: Any, **settings: Any) -> operations.NewDiscovery:
    changed = DiscoverySettings(**{name: getattr(SETTINGS, name) for name in SETTINGS.__slots__} | settings)
    return operations.create_discovery(
        rehearsal.config, population=POPULATION, parameters=PARAMETERS, settings=changed, actor="ada"
    )


def read(rehearsal: Any, selected: Selected) -> tuple[Plan, CandidateList]:
    """What a device of the round reads."""
    files = decode_manifest(selected.manifest.manifest).files
    assert set(files) == {"plan", "candidates"}, "no model is downloaded for a vote"
    plan, candidates = (
        rehearsal.request("GET", routes.file(files[name].sha256)).data for name in ("plan", "candidates")
    )
    return decode_plan(plan), decode_candidates(candidates)


def vote(rehearsal: Any, words: Sequence[str]) -> tuple[Plan, CandidateList]:
    """A device votes in the open level."""
    selected = rehearsal.select(discovers_words=True)
    plan, candidates = read(rehearsal, selected)
    assert plan.ballot is not None
    rehearsal.report(selected, vote_vector(words, candidates, max_words=4))
    return plan, plan.ballot.check_list(candidates)


def vote_all(rehearsal: Any) -> tuple[Plan, CandidateList]:
    """Five devices vote, one of them for a word of its own besides: the level closes."""
    vote(rehearsal, [SHARED, LONELY])
    return [vote(rehearsal, [SHARED]) for _ in range(4)][-1]


def train_once(rehearsal: Any) -> None:
    rehearsal.report(rehearsal.select(), rehearsal.update())


def events(rehearsal: Any) -> list[Any]:
    with rehearsal.service.database.read() as connection:
        return books.list_events(connection, POPULATION)


def kinds(rehearsal: Any) -> list[str]:
    with rehearsal.service.database.read() as connection:
        return [record.task.kind for record in rounds.list_rounds(connection, POPULATION)]


def found(rehearsal: Any) -> list[str]:
    return [record.word for record in operations.list_words(rehearsal.config, POPULATION)]


def test_a_word_of_many_comes_out_and_that_of_one_does_not(trained: Any) -> None:
    begun = create(trained)
    assert (begun.levels, begun.threshold) == (2, pytest.approx(1 + 0.2 * math.sqrt(2 * math.log(438e6)), rel=1e-6))
    first, _ = vote_all(trained)
    trained.restart()
    train_once(trained)
    second, candidates = vote_all(trained)
    assert candidates.prefixes == ("ba",), "the prefix of one device goes to nobody"
    assert first.ballot is not None
    assert second.ballot is not None
    assert first.ballot.discovery_id == second.ballot.discovery_id
    assert found(trained) == []  # of five letters and more: whether it ends is not asked
    assert [event.level for event in events(trained) if isinstance(event, VotesReleased)] == [0, 1]
    with trained.service.database.read() as connection:
        assert models.find_running(connection, POPULATION, "discovery") is None
        assert models.find_running(connection, POPULATION, "training") is not None


def test_words_are_found_where_they_end(trained: Any) -> None:
    create(trained)
    for _ in range(5):
        vote(trained, ["a", "bad"])
    [record] = operations.list_words(trained.config, POPULATION)
    assert (record.word, record.status) == ("a", "found")
    assert record.devices == pytest.approx(5, abs=1.5)
    train_once(trained)
    for _ in range(5):
        vote(trained, ["a", "bad"])
    assert sorted(found(trained)) == ["a", "bad"]


def test_levels_take_turns_with_training(trained: Any) -> None:
    create(trained)
    vote_all(trained)
    train_once(trained)
    vote_all(trained)
    train_once(trained)
    assert kinds(trained) == ["discovery", "training", "discovery", "training"]


def test_a_level_whose_round_is_abandoned_waits_for_its_turn_and_is_tried_again(trained: Any) -> None:
    create(trained)
    plan, _ = vote(trained, [SHARED])
    trained.wait(3_600)
    trained.service.coordinator.advance(POPULATION)
    train_once(trained)
    again, _ = vote_all(trained)
    assert again == plan
    assert kinds(trained) == ["discovery", "training", "discovery"]


def test_who_did_not_allow_it_is_in_no_such_round(trained: Any) -> None:
    create(trained)
    answer = trained.post_check_in()
    assert isinstance(answer, ComeBack)
    assert answer.reason == "no_round"
    vote(trained, [SHARED])


def test_where_nobody_allows_it_training_goes_on(trained: Any) -> None:
    create(trained)
    for _ in range(2):
        assert isinstance(trained.post_check_in(), ComeBack)
        trained.wait(601)
        train_once(trained)
    assert kinds(trained) == ["training", "training"]
    vote(trained, [SHARED])


def test_a_discovery_waits_for_its_devices_where_nothing_else_is_to_be_done(trained: Any) -> None:
    begun = create(trained)
    with trained.service.database.write() as connection:
        training = models.find_running(connection, POPULATION, "training")
        assert training is not None
        models.end_task(connection, training, "cancelled", trained.now)
    assert isinstance(trained.post_check_in(), ComeBack)
    trained.wait(100_000)
    plan, _ = vote(trained, [SHARED])
    assert plan.kind == "discovery"
    with trained.service.database.read() as connection:
        assert models.active_task_id(connection, POPULATION) == begun.task_id


def test_the_next_levels_list_is_not_pruned(trained: Any) -> None:
    create(trained)
    vote_all(trained)
    with trained.service.database.read() as connection:
        running = models.find_running(connection, POPULATION, "discovery")
        assert running is not None
        entry = find_candidates(connection, running)
        assert entry is not None
        assert entry.sha256 not in unnamed_files(connection, trained.now + 1e6)


@pytest.mark.parametrize(
    ("votes", "told"),
    [({0: 2.0}, "0 or 1"), ({0: -1.0}, "0 or 1"), ({0: 0.5}, "0 or 1"), (dict.fromkeys(range(5), 1.0), "at most 4")],
)
def test_votes_beyond_the_rules_are_refused(trained: Any, votes: dict[int, float], told: str) -> None:
    create(trained)
    selected = trained.select(discovers_words=True)
    plan, candidates = read(trained, selected)
    vector = vote_vector([], candidates, max_words=4)
    for index, value in votes.items():
        vector[index] = value
    response = trained.put(selected, encode_update(vector))
    assert response.status_code == 422
    assert told in response.json["detail"]
    assert trained.put(selected, encode_update(vector[:-1])).status_code == 422
    assert plan.update_size == candidates.size


def test_where_nothing_survives_the_discovery_ends(trained: Any) -> None:
    create(trained)
    for word in ("ab", "ba", "cc", "dd", "ee"):
        vote(trained, [word * 2])
    assert found(trained) == []
    train_once(trained)
    train_once(trained)
    assert kinds(trained) == ["discovery", "training", "training"]


def test_a_level_is_charged_as_one_gaussian_sum_and_stated(trained: Any) -> None:
    create(trained)
    vote_all(trained)
    [event] = events(trained)
    assert isinstance(event, VotesReleased)
    assert event.noise_multiplier == pytest.approx(0.1, rel=1e-6)
    assert event.l2_clip_norm == pytest.approx(2.0, rel=1e-6)
    assert event.l2_clip_norm > 2.0, "the noise is on the grid"
    statement = operations.privacy_statement(trained.config, POPULATION)
    assert [each.kind for each in statement.released] == ["discovery"]
    expected = privacy_spent(event.noise_multiplier, 1, trained.config.privacy_delta).epsilon
    assert statement.epsilon == pytest.approx(expected)
    assert any("more devices have than a discovery" in sentence for sentence in statement.not_protected)


def test_no_level_begins_that_the_budget_does_not_pay_for(trained: Any) -> None:
    one_level = privacy_spent(2.0, 1, trained.config.privacy_delta).epsilon
    operations.set_policy(trained.config, POPULATION, PopulationPolicy(epsilon_budget=one_level * 1.01))
    create(trained, noise_multiplier=2.0)
    device_ids = [trained.enrol() for _ in range(5)]
    for device_id in device_ids:
        selected = trained.select(device_id, discovers_words=True)
        _, candidates = read(trained, selected)
        trained.report(selected, vote_vector([SHARED], candidates, max_words=4))
    assert len(events(trained)) == 1
    trained.service.coordinator.advance(POPULATION)
    with trained.service.database.read() as connection:
        assert models.find_running(connection, POPULATION, "discovery") is None


def test_the_audit_log_tells_the_parameters(trained: Any) -> None:
    begun = create(trained)
    with trained.service.database.read() as connection:
        entry = next(iter(audit.list_entries(connection)))
    assert (entry.actor, entry.action, entry.subject) == ("ada", "task.created", POPULATION)
    assert entry.details["task"] == begun.task_id
    assert entry.details["parameters"] == msgspec.to_builtins(PARAMETERS) | {"steps": [2, 2]}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"noise_multiplier": None}, "noise_multiplier must be > 0 for a discovery, got 0"),
        ({"minimum_reports": 6}, "minimum_reports must be <= report_goal 5, got 6"),
    ],
)
def test_what_cannot_be_is_refused(trained: Any, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(OperationError, match=told):
        create(trained, **settings)
    assert kinds(trained) == []


def test_one_discovery_at_a_time_and_none_without_training(rehearsal: Any, plans: Any) -> None:
    with pytest.raises(OperationError, match="has no training task"):
        create(rehearsal)
    rehearsal.create_task(plans(goal=1))
    begun = create(rehearsal)
    with pytest.raises(OperationError, match=f"task {begun.task_id} still discovers words"):
        create(rehearsal)
    assert operations.end_task(rehearsal.config, POPULATION) == begun.task_id
    create(rehearsal)


def test_operators_decide_and_the_audit_log_names_no_word(trained: Any) -> None:
    create(trained)
    for _ in range(5):
        vote(trained, ["a", "b", "hg"])
    ids = {record.word: record.id for record in operations.list_words(trained.config, POPULATION)}
    assert set(ids) == {"a", "b"}
    with pytest.raises(OperationError, match="has no approved words"):
        operations.approved_words(trained.config, POPULATION)
    assert operations.decide_words(trained.config, POPULATION, [ids["a"], ids["b"]], "approved", actor="ada") == 2
    assert operations.decide_words(trained.config, POPULATION, [ids["b"]], "rejected", actor="ada") == 1
    [approved] = operations.list_words(trained.config, POPULATION, "approved")
    assert (approved.word, approved.decided_by) == ("a", "ada")
    assert operations.approved_words(trained.config, POPULATION) == f"a\t{approved.devices:.3f}\n".encode()
    with trained.service.database.read() as connection:
        entries = [entry for entry in audit.list_entries(connection) if entry.action.startswith("words.")]
    assert [(entry.action, entry.details) for entry in entries] == [
        ("words.rejected", {"words": [ids["b"]]}),
        ("words.approved", {"words": sorted(ids.values())}),
    ]
    for wrong, told in (([], "must be named"), ([ids["a"], 999], "has no word 999")):
        with pytest.raises(OperationError, match=told):
            operations.decide_words(trained.config, POPULATION, wrong, "approved")


def test_no_log_line_holds_what_was_typed(trained: Any, capfd: pytest.CaptureFixture[str]) -> None:
    create(trained)
    vote_all(trained)
    train_once(trained)
    vote_all(trained)
    operations.list_words(trained.config, POPULATION)
    captured = "".join(capfd.readouterr())
    assert SHARED not in captured
    assert f'"{LONELY}"' not in captured
