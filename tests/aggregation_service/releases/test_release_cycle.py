"""A release's whole life over the real service: proposed, evaluated by devices, let through or refused, taken back."""

import secrets
from typing import Any

import msgspec
import pytest

from aggregation_service import audit, operations
from aggregation_service.operations import EvaluationSettings, OperationError
from aggregation_service.policy import PopulationPolicy
from aggregation_service.privacy.ledger import GaussianSumReleased
from aggregation_service.privacy.statement import PrivacyStatement
from aggregation_service.releases.gate import EvaluationResult
from aggregation_service.releases.rollout import is_in_rollout
from aggregation_service.storage import books, rounds
from aggregation_service.storage.releases import ReleaseRecord
from protocol import routes
from protocol.evaluation import NO_MODEL, EvaluationSums, ModelSums
from protocol.manifest import Manifest, SignedManifest, decode_manifest, decode_public_key, open_manifest
from protocol.messages import Selected, decode_message
from protocol.plan import Plan, decode_plan

POPULATION = "en-gb"
FILES = {"model": b"first"}
SETTINGS = EvaluationSettings(report_goal=2, minimum_reports=1, l2_clip_norm=5.0)


BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, but where a test says `BOTH`."""
    kind: str = getattr(request, "param", "sqlite")
    return kind


def train_once(rehearsal: Any) -> None:
    rehearsal.report(rehearsal.select(), rehearsal.update())


def publish(rehearsal: Any, content: bytes = b"first", **arguments: Any) -> Manifest:
    return operations.publish_release(rehearsal.config, population=POPULATION, files={"model": content}, **arguments)


def set_gate(rehearsal: Any, margin: float | None) -> None:
    operations.set_policy(rehearsal.config, POPULATION, PopulationPolicy(gate_margin=margin))


def propose(rehearsal: Any, content: bytes = b"second", **arguments: Any) -> operations.Proposal:
    return operations.propose_release(
        rehearsal.config,
        population=POPULATION,
        files={"model": content},
        **({"evaluation": SETTINGS} | arguments),
    )


def listed(rehearsal: Any) -> dict[int, ReleaseRecord]:
    return {record.id: record for record in operations.list_releases(rehearsal.config, POPULATION)}


def offered(rehearsal: Any, device_id: str | None = None) -> Manifest | None:
    """What a device gets, verified; of nobody in particular without an id."""
    path = routes.release(POPULATION)
    headers = {} if device_id is None else rehearsal.sign(rehearsal.enrol(device_id), "GET", path)
    response = rehearsal.request("GET", path, headers=headers)
    if response.status_code == 404:
        return None
    assert response.status_code == 200, response.json
    key = decode_public_key(operations.public_key(rehearsal.config))
    signed = decode_message(response.data, SignedManifest)
    return open_manifest(signed, key, purpose="release", population=POPULATION)


def content_of(rehearsal: Any, manifest: Manifest | None) -> bytes | None:
    if manifest is None:
        return None
    content: bytes = rehearsal.request("GET", routes.file(manifest.files["model"].sha256)).data
    return content


def stated(rehearsal: Any, manifest: Manifest | None) -> PrivacyStatement:
    assert manifest is not None
    content = rehearsal.request("GET", routes.file(manifest.files[operations.STATEMENT_FILE].sha256)).data
    return msgspec.json.decode(content, type=PrivacyStatement)


def plan_of(rehearsal: Any, selected: Selected) -> Plan:
    manifest = decode_manifest(selected.manifest.manifest)
    return decode_plan(rehearsal.request("GET", routes.file(manifest.files["plan"].sha256)).data)


def evaluate(rehearsal: Any, *, candidate: int, baseline: int | None) -> None:
    """Two devices of 100 and 300 targets find so many hits in a hundred."""
    for targets in (100, 300):
        found = [
            NO_MODEL if hits is None else ModelSums(targets * hits / 100, targets / 2, targets * 4.0)
            for hits in (candidate, baseline)
        ]
        rehearsal.report(rehearsal.select(), EvaluationSums(found[0], found[1], targets).to_vector())


def audited(rehearsal: Any, action: str) -> list[audit.AuditEntry]:
    with rehearsal.service.database.read() as connection:
        return [entry for entry in audit.list_entries(connection) if entry.action == action]


def results(rehearsal: Any) -> list[EvaluationResult]:
    with rehearsal.service.database.read() as connection:
        texts = [record.result for record in rounds.list_rounds(connection, POPULATION)]
    return [msgspec.json.decode(text, type=EvaluationResult) for text in texts if text is not None]


@pytest.fixture
def released(rehearsal: Any, plans: Any) -> Any:
    """Version 0 is out, version 1 was trained, and the policy asks for half a point."""
    rehearsal.create_task(plans(goal=1))
    publish(rehearsal)
    train_once(rehearsal)
    set_gate(rehearsal, 0.005)
    return rehearsal


@BOTH
@pytest.mark.parametrize(("hits", "status"), [(22, "released"), (20, "refused"), (15, "refused")])
def test_a_candidate_is_released_iff_devices_foresee_more_with_it(released: Any, hits: int, status: str) -> None:
    proposal = propose(released)
    assert content_of(released, offered(released)) == b"first", "a candidate is not offered"
    evaluate(released, candidate=hits, baseline=20)
    record = listed(released)[proposal.release_id]
    assert record.status == status
    assert f"{(hits - 20) / 100:+.4f}" in (record.decision or "")
    assert content_of(released, offered(released)) == (b"second" if status == "released" else b"first")
    [entry] = audited(released, f"release.{status}")
    assert (entry.actor, entry.subject) == ("gate", f"{POPULATION}/{proposal.release_id}")
    [result] = results(released)
    assert (result.candidate_version, result.baseline_version, result.num_reports) == (1, 0, 2)
    assert result.top1_candidate == pytest.approx(hits / 100, rel=1e-5)
    assert result.loss_baseline == pytest.approx(4.0, rel=1e-5)


@BOTH
@pytest.mark.parametrize("way", ["gate", "operator"])
def test_a_release_states_what_its_evaluation_cost(rehearsal: Any, plans: Any, way: str) -> None:
    """The weights of the first candidate knew no device; what released it did."""
    rehearsal.create_task(plans(goal=1, noise=0.05))
    set_gate(rehearsal, 0.005)
    proposal = propose(rehearsal)
    if way == "operator":
        set_gate(rehearsal, None)
    evaluate(rehearsal, candidate=22, baseline=None)
    if way == "operator":
        operations.publish_candidate(rehearsal.config, population=POPULATION, release_id=proposal.release_id)
    found = stated(rehearsal, offered(rehearsal))
    assert found == operations.privacy_statement(rehearsal.config, POPULATION)
    assert (found.cohort_sizes, found.epsilon) == ((2,), pytest.approx(rehearsal.summary()["epsilon"]))
    assert found.epsilon > 0


def test_a_candidate_that_is_released_is_later_than_it_was(released: Any) -> None:
    proposal = propose(released)
    candidate = decode_manifest(listed(released)[proposal.release_id].manifest.manifest)
    evaluate(released, candidate=22, baseline=20)
    found = offered(released)
    assert found is not None
    assert found.created_at > candidate.created_at
    assert {**found.files, "privacy_statement": None} == {**candidate.files, "privacy_statement": None}
    assert found.files["privacy_statement"] != candidate.files["privacy_statement"]


@BOTH
def test_an_evaluation_round_is_booked_counted_and_followed_by_training(released: Any) -> None:
    propose(released)
    selected = released.select()
    plan = plan_of(released, selected)
    assert (plan.kind, plan.update_size, plan.privacy.l2_clip_norm) == ("evaluation", 7, 5.0)
    manifest = decode_manifest(selected.manifest.manifest)
    assert {"checkpoint", "checkpoint_base", "checkpoint_difference", "baseline_checkpoint"} <= set(manifest.files)
    released.report(selected, EvaluationSums(NO_MODEL, NO_MODEL, 5).to_vector())
    released.report(released.select(), EvaluationSums(NO_MODEL, NO_MODEL, 5).to_vector())
    with released.service.database.read() as connection:
        event = books.list_events(connection, POPULATION)[-1]
    assert isinstance(event, GaussianSumReleased)
    assert (event.num_reports, event.l2_clip_norm) == (2, 5.0)
    assert released.weights()[0] == 1, "an evaluation makes no model version"
    assert plan_of(released, released.select()).kind == "training"


def test_an_older_version_is_evaluated_under_a_manifest_that_devices_do_not_take_for_old(released: Any) -> None:
    train_once(released)
    operations.create_evaluation(released.config, population=POPULATION, candidate_version=1, settings=SETTINGS)
    manifest = decode_manifest(released.select().manifest.manifest)
    assert manifest.model_version == released.weights()[0] == 2


def test_the_first_release_has_nothing_to_be_compared_with(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    set_gate(rehearsal, 0.5)
    proposal = propose(rehearsal)
    assert offered(rehearsal) is None
    assert "baseline_checkpoint" not in decode_manifest(rehearsal.select().manifest.manifest).files
    rehearsal.wait(10_000)  # the device above never reports
    rehearsal.summary()
    evaluate(rehearsal, candidate=1, baseline=None)
    record = listed(rehearsal)[proposal.release_id]
    assert (record.status, "no release to compare with" in (record.decision or "")) == ("released", True)


def test_too_few_noised_targets_refuse_a_candidate(released: Any) -> None:
    proposal = propose(
        released, evaluation=EvaluationSettings(report_goal=2, minimum_reports=1, noise_multiplier=100.0)
    )
    evaluate(released, candidate=90, baseline=1)
    record = listed(released)[proposal.release_id]
    assert (record.status, "cannot be read" in (record.decision or "")) == ("refused", True)


def test_the_gate_lets_nobody_pass_but_in_the_open(released: Any) -> None:
    with pytest.raises(OperationError, match="has a gate: propose the release"):
        publish(released, b"second")
    publish(released, b"second", despite_gate=True, actor="anna")
    [entry] = audited(released, "release.published")[:1]
    assert (entry.actor, entry.details["despite_gate"]) == ("anna", True)
    assert content_of(released, offered(released)) == b"second"


def test_a_release_made_meanwhile_ends_a_candidates_chance(released: Any) -> None:
    proposal = propose(released)
    publish(released, b"hot fix", model_version=0, despite_gate=True)
    evaluate(released, candidate=90, baseline=20)
    assert listed(released)[proposal.release_id].status == "refused"
    assert content_of(released, offered(released)) == b"hot fix"
    operations.publish_candidate(
        released.config, population=POPULATION, release_id=proposal.release_id, despite_gate=True
    )
    assert content_of(released, offered(released)) == b"second"
    assert listed(released)[proposal.release_id].status == "reissued"


def test_one_evaluation_at_a_time(released: Any) -> None:
    first = propose(released)
    with pytest.raises(OperationError, match=f"task {first.task_id} still evaluates model version 1"):
        propose(released, b"third")
    operations.end_task(released.config, POPULATION)
    second = propose(released, b"third")
    assert listed(released)[first.release_id].decision == f"release {second.release_id} was proposed instead"


def test_without_a_gate_a_candidate_waits_for_an_operator(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    proposal = propose(rehearsal)
    assert proposal.task_id is None
    assert offered(rehearsal) is None
    operations.publish_candidate(rehearsal.config, population=POPULATION, release_id=proposal.release_id)
    assert content_of(rehearsal, offered(rehearsal)) == b"second"
    with pytest.raises(OperationError, match="must be a candidate or refused, got reissued"):
        operations.publish_candidate(rehearsal.config, population=POPULATION, release_id=proposal.release_id)


def test_a_gate_taken_down_during_the_evaluation_leaves_the_decision_to_an_operator(released: Any) -> None:
    proposal = propose(released)
    set_gate(released, None)
    evaluate(released, candidate=90, baseline=20)
    record = listed(released)[proposal.release_id]
    assert (record.status, "the policy has no gate" in (record.decision or "")) == ("candidate", True)


@BOTH
def test_a_staged_roll_out_reaches_its_share_of_devices_and_no_stranger(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    publish(rehearsal)
    publish(rehearsal, b"second", rollout_percent=50)
    release_id = max(listed(rehearsal))
    devices = [secrets.token_hex(16) for _ in range(12)]
    for percent in (50, 0, 100):
        operations.set_rollout(rehearsal.config, population=POPULATION, release_id=release_id, percent=percent)
        for device in devices[: 12 if percent == 50 else 2]:
            expected = b"second" if is_in_rollout(release_id, percent, device) else b"first"
            assert content_of(rehearsal, offered(rehearsal, device)) == expected
        assert content_of(rehearsal, offered(rehearsal)) == (b"second" if percent == 100 else b"first")
    assert [entry.details["new"] for entry in audited(rehearsal, "release.rollout_changed")] == [100, 0, 50]


def test_a_forged_signature_is_offered_nothing(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    publish(rehearsal)
    path = routes.release(POPULATION)
    headers = rehearsal.sign(rehearsal.enrol(), "GET", "/v1/elsewhere")
    assert rehearsal.request("GET", path, headers=headers).status_code == 403


@BOTH
def test_a_rollback_is_one_call_and_a_later_release(released: Any) -> None:
    set_gate(released, None)
    before = offered(released)
    publish(released, b"second")
    withdrawn = offered(released)
    made = operations.rollback_release(released.config, population=POPULATION, actor="anna")
    found = offered(released, secrets.token_hex(16))
    assert before is not None and withdrawn is not None and found is not None  # noqa: PT018
    assert (found, found.is_rollback, found.model_version) == (made.manifest, True, 0)
    assert found.files["model"] == before.files["model"]
    assert stated(released, before).cohort_sizes == ()
    assert stated(released, found) == operations.privacy_statement(released.config, POPULATION), "spent is spent"
    assert before.created_at < withdrawn.created_at < found.created_at, "also where the clock stands still"
    assert [record.status for _, record in sorted(listed(released).items())] == ["reissued", "withdrawn", "released"]
    [entry] = audited(released, "release.rolled_back")
    assert (entry.actor, entry.details) == ("anna", {"to": made.target_id, "withdrawn": list(made.withdrawn_ids)})
    with pytest.raises(OperationError, match="needs an earlier release"):
        operations.rollback_release(released.config, population=POPULATION)
    publish(released, b"third")
    assert content_of(released, offered(released)) == b"third"
    operations.rollback_release(released.config, population=POPULATION)
    assert content_of(released, offered(released)) == b"first"


def test_a_rollback_can_go_further_back_and_passes_over_what_few_were_offered(rehearsal: Any, plans: Any) -> None:
    rehearsal.create_task(plans(goal=1))
    for content, percent in ((b"first", 100), (b"second", 100), (b"third", 10), (b"fourth", 50)):
        publish(rehearsal, content, rollout_percent=percent)
    first, second, third, _ = sorted(listed(rehearsal))
    with pytest.raises(OperationError, match="is number 999"):
        operations.rollback_release(rehearsal.config, population=POPULATION, to=999)
    made = operations.rollback_release(rehearsal.config, population=POPULATION)
    assert (made.target_id, third in made.withdrawn_ids) == (second, True)
    made = operations.rollback_release(rehearsal.config, population=POPULATION, to=first)
    assert content_of(rehearsal, offered(rehearsal)) == b"first"


def test_only_what_is_released_is_rolled_out(released: Any) -> None:
    proposal = propose(released)
    with pytest.raises(OperationError, match="must be released to be rolled out, got candidate"):
        operations.set_rollout(released.config, population=POPULATION, release_id=proposal.release_id, percent=5)
    for release_id in (0, -1, 10**6, 2**70):
        with pytest.raises(OperationError, match="has no release"):
            operations.set_rollout(released.config, population=POPULATION, release_id=release_id, percent=5)
    with pytest.raises(OperationError, match="must be 0 to 100 percent, got 101"):
        operations.set_rollout(released.config, population=POPULATION, release_id=1, percent=101)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidate_version": 9}, "no model version 9"),
        ({"baseline_version": 9}, "no model version 9"),
        (
            {"settings": EvaluationSettings(report_goal=1, minimum_reports=2)},
            "minimum_reports must be <= report_goal 1",
        ),
    ],
)
def test_evaluations_that_cannot_be(released: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        operations.create_evaluation(released.config, population=POPULATION, **changes)


def test_without_training_there_is_nothing_to_evaluate(rehearsal: Any) -> None:
    with pytest.raises(OperationError, match="no training task"):
        operations.create_evaluation(rehearsal.config, population=POPULATION)
