import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Response

from device_runtime.rounds.agent import Enrolment
from device_runtime.rounds.agent_state import StateFile
from device_runtime.rounds.bookkeeping import FIRST_RETRY_S, LONGEST_RETRY_S, POLL_S
from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms import Wishes
from protocol.clipping import l2_norm
from protocol.messages import ComeBack, Problem, encode_message
from protocol.plan import PrivacyPromise, encode_plan
from protocol.update import decode_update
from protocol.weights import encode_checkpoint

COME_BACK = ComeBack(reconnect_after_s=500.0, reason="cohort_full")


def steps(new_agent, count):
    """Every step is made by an agent of its own, as if the process had been killed after each."""
    return [new_agent().step() for _ in range(count)]


def events(outcomes):
    return [outcome.event for outcome in outcomes]


def test_a_whole_round_survives_a_restart_after_every_step(new_agent, service, round_files, plan):
    service.offer(round_files)
    outcomes = steps(new_agent, 4)
    assert events(outcomes) == [Event.SELECTED, Event.CONFIGURED, Event.TRAINED, Event.REPORTED]
    [update] = service.reports
    norm = l2_norm(decode_update(update, plan.num_weights))
    assert 0 < norm <= plan.privacy.l2_clip_norm
    trained = outcomes[2].numbers
    assert trained["update_norm"] > plan.privacy.l2_clip_norm
    assert trained["was_clipped"] == 1.0
    assert trained["steps"] == 4
    assert outcomes[3].bytes_up == len(update)
    assert outcomes[1].bytes_down == sum(len(content) for content in round_files.values())


def test_one_agent_gives_the_same_update_as_restarted_ones(new_agent, service, round_files, clock, tmp_path):
    service.offer(round_files)
    agent = new_agent()
    saved = {}
    for _ in range(3):
        saved = {path: path.read_bytes() for path in tmp_path.rglob("agent.json")}
        agent.step()
    for path, content in saved.items():  # killed after training, before the state was written
        path.write_bytes(content)
    outcomes = steps(new_agent, 2)
    assert events(outcomes) == [Event.TRAINED, Event.REPORTED]
    first = service.reports[0]
    for path, content in saved.items():  # and once more
        path.write_bytes(content)
    steps(new_agent, 2)
    assert service.reports == [first, first]


def test_reconnect_window_and_own_separation_are_kept_across_restarts(new_agent, service, round_files, clock):
    service.offer(round_files)
    steps(new_agent, 4)
    asked = len(service.requests)
    [waiting] = steps(new_agent, 1)
    assert (waiting.event, waiting.next_step_in_s) == (Event.WAITING, 100.0)
    clock.now += 101
    [waiting] = steps(new_agent, 1)
    assert waiting.event == Event.WAITING
    assert waiting.next_step_in_s == pytest.approx(3_600 - 101)
    clock.now += 3_500
    assert len(service.requests) == asked
    service.offer(round_files)
    assert events(steps(new_agent, 1)) == [Event.SELECTED]


def test_a_lost_receipt_still_counts_as_taking_part(new_agent, service, round_files, clock):
    service.offer(round_files)
    steps(new_agent, 3)
    service.override = lambda: Response("", 503)
    assert events(steps(new_agent, 1)) == [Event.UNAVAILABLE]
    clock.now += 601  # the deadline passes
    assert events(steps(new_agent, 1)) == [Event.EXPIRED]
    service.override = lambda: None
    [outcome] = steps(new_agent, 1)
    assert (outcome.event, outcome.reason) == (Event.WAITING, "minimum separation")


def test_told_to_come_back(new_agent, service, clock):
    service.check_in_answer = COME_BACK
    [outcome] = steps(new_agent, 1)
    assert (outcome.event, outcome.next_step_in_s, outcome.reason) == (Event.TOLD_TO_WAIT, 500.0, "cohort_full")
    clock.now += 499
    assert events(steps(new_agent, 1)) == [Event.WAITING]
    clock.now += 1
    assert events(steps(new_agent, 1)) == [Event.TOLD_TO_WAIT]
    assert len(service.requests) == 2


def test_a_service_that_says_zero_is_not_asked_in_a_loop(new_agent, service):
    service.check_in_answer = ComeBack(reconnect_after_s=0.0, reason="no_task")
    outcomes = steps(new_agent, 2)
    assert outcomes[0].next_step_in_s >= 1
    assert outcomes[1].event == Event.WAITING


def test_a_clock_turned_back_does_not_make_it_wait_for_years(new_agent, service, clock):
    service.check_in_answer = COME_BACK
    steps(new_agent, 1)
    clock.now -= 10 * 366 * 24 * 3600
    assert steps(new_agent, 1)[0].next_step_in_s == 500.0
    clock.now += 500
    assert events(steps(new_agent, 1)) == [Event.TOLD_TO_WAIT]


def test_the_device_keeps_its_id(new_agent, service, clock):
    service.check_in_answer = COME_BACK
    for _ in range(3):
        steps(new_agent, 1)
        clock.now += 1_000
    ids = {msgspec.json.decode(body)["device_id"] for body in service.bodies}
    assert len(service.bodies) == 3
    assert len(ids) == 1


def test_without_conditions_consent_or_words_nobody_is_asked(new_agent, service, conditions, log):
    conditions.reads_left = 0
    [outcome] = steps(new_agent, 1)
    assert (outcome.event, outcome.next_step_in_s, outcome.reason) == (Event.NOT_ELIGIBLE, POLL_S, "not charging")
    conditions.reads_left = float("inf")
    log.consent = False
    assert events(steps(new_agent, 1)) == [Event.NO_CONSENT]
    log.consent = True
    log.wipe()
    assert events(steps(new_agent, 1)) == [Event.NOTHING_TO_TRAIN]
    assert service.requests == []


def test_taking_consent_back_drops_what_was_trained(new_agent, service, round_files, log, tmp_path):
    service.offer(round_files)
    steps(new_agent, 3)
    assert list(tmp_path.rglob("update.sealed"))
    log.consent = False
    assert events(steps(new_agent, 1)) == [Event.NO_CONSENT]
    assert not list(tmp_path.rglob("update.sealed"))
    assert service.reports == []


def test_wiping_the_log_drops_what_was_trained_on_it(new_agent, service, round_files, log, tmp_path):
    service.offer(round_files)
    steps(new_agent, 3)
    log.wipe()
    assert events(steps(new_agent, 1)) == [Event.NOTHING_TO_TRAIN]
    assert not list(tmp_path.rglob("update.sealed"))
    assert service.reports == []


def test_a_checkpoint_is_forgotten_with_its_round_and_the_rest_is_kept(new_agent, service, round_files, tmp_path):
    service.offer(round_files)
    cache = tmp_path / "tests" / "cache"
    steps(new_agent, 3)
    assert len(list(cache.iterdir())) == len(round_files)
    steps(new_agent, 1)
    kept = {path.read_bytes() for path in cache.iterdir()}
    assert kept == {content for name, content in round_files.items() if name != "checkpoint"}


def test_a_dropped_rounds_checkpoint_is_forgotten_too(new_agent, service, round_files, clock, tmp_path):
    service.offer(round_files)
    steps(new_agent, 2)
    clock.now += 600
    assert events(steps(new_agent, 1)) == [Event.EXPIRED]
    kept = {path.read_bytes() for path in (tmp_path / "tests" / "cache").iterdir()}
    assert kept == {content for name, content in round_files.items() if name != "checkpoint"}


def test_a_condition_that_ends_interrupts_training_and_drops_the_assignment(
    new_agent, service, round_files, conditions, clock
):
    service.offer(round_files)
    steps(new_agent, 2)
    conditions.reads_left = 3  # one before the step, two while training
    [outcome] = steps(new_agent, 1)
    assert (outcome.event, outcome.reason) == (Event.INTERRUPTED, "training was stopped after 2 steps")
    conditions.reads_left = float("inf")
    service.check_in_answer = COME_BACK
    assert events(steps(new_agent, 1)) == [Event.WAITING]  # a device that is picked up again and again waits longer
    clock.now += outcome.next_step_in_s
    assert events(steps(new_agent, 1)) == [Event.TOLD_TO_WAIT]


def test_training_waits_while_conditions_do_not_hold(new_agent, service, round_files, conditions):
    service.offer(round_files)
    steps(new_agent, 3)
    conditions.reads_left = 0
    assert events(steps(new_agent, 1)) == [Event.NOT_ELIGIBLE]
    assert service.reports == []
    conditions.reads_left = float("inf")
    assert events(steps(new_agent, 1)) == [Event.REPORTED]


@pytest.mark.parametrize("before", [1, 2, 3])
def test_the_deadline_drops_the_assignment(new_agent, service, round_files, clock, before):
    service.offer(round_files)
    steps(new_agent, before)
    clock.now += 600
    assert events(steps(new_agent, 1)) == [Event.EXPIRED]
    assert service.reports == []


@pytest.mark.parametrize("before", [0, 1, 3])
def test_an_unavailable_service_is_tried_again_later(new_agent, service, round_files, clock, before):
    service.offer(round_files)
    steps(new_agent, before)
    service.override = lambda: Response("", 503)
    waits = []
    for _ in range(3):
        [outcome] = steps(new_agent, 1)
        assert outcome.event == Event.UNAVAILABLE
        waits.append(outcome.next_step_in_s)
        clock.now += outcome.next_step_in_s
    assert waits == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    service.override = lambda: None
    assert steps(new_agent, 1)[0].event in (Event.SELECTED, Event.CONFIGURED, Event.REPORTED)


def test_the_wait_has_a_longest(new_agent, service, clock):
    service.override = lambda: Response("", 503)
    for _ in range(12):
        [outcome] = steps(new_agent, 1)
        clock.now += outcome.next_step_in_s
    assert outcome.next_step_in_s == LONGEST_RETRY_S


def test_plan_graph_and_vocabulary_are_downloaded_once(new_agent, service, round_files, clock, checkpoint):
    service.offer(round_files)
    steps(new_agent, 4)
    clock.now += 4_000
    newer = encode_checkpoint({name: value * np.float32(0.9) for name, value in checkpoint.items()})
    service.offer(round_files | {"checkpoint": newer}, model_version=6)
    service.requests.clear()
    outcomes = steps(new_agent, 4)
    assert events(outcomes)[-1] == Event.REPORTED
    assert [path for method, path in service.requests if method == "GET"] == [service.requests[1][1]]
    assert outcomes[1].bytes_down == len(newer)


def test_files_lost_from_the_cache_are_fetched_again(new_agent, service, round_files, tmp_path):
    service.offer(round_files)
    steps(new_agent, 2)
    for path in (tmp_path / "tests" / "cache").iterdir():
        path.write_bytes(b"damaged")
    assert events(steps(new_agent, 2)) == [Event.TRAINED, Event.REPORTED]


def refused(new_agent, word):
    outcomes = steps(new_agent, 2)
    if outcomes[1].event == Event.CONFIGURED:
        outcomes += steps(new_agent, 1)
    assert events(outcomes)[-1] == Event.REFUSED
    assert word in outcomes[-1].reason
    assert outcomes[-1].next_step_in_s >= FIRST_RETRY_S


def test_manifest_by_another_key_is_refused(new_agent, service, round_files):
    service.offer(round_files, key=Ed25519PrivateKey.generate())
    refused(new_agent, "signature")
    assert len(service.requests) == 1  # nothing was downloaded


def test_unsigned_manifest_is_refused(new_agent, service, round_files):
    selected = service.offer(round_files)
    unsigned = msgspec.structs.replace(selected.manifest, signature=bytes(64))
    service.check_in_answer = msgspec.structs.replace(selected, manifest=unsigned)
    refused(new_agent, "signature")


@pytest.mark.parametrize(
    ("changes", "word"), [({"purpose": "release"}, "purpose"), ({"population": "x"}, "population")]
)
def test_manifest_for_something_else_is_refused(new_agent, service, round_files, changes, word):
    service.offer(round_files, **changes)
    refused(new_agent, word)


def test_an_older_model_is_refused_also_after_a_restart(new_agent, service, round_files, clock):
    service.offer(round_files, model_version=5)
    steps(new_agent, 4)
    clock.now += 4_000
    service.offer(round_files, model_version=4)
    refused(new_agent, "model_version must be >= 5, got 4")
    clock.now += 4_000
    service.offer(round_files, model_version=5)
    assert events(steps(new_agent, 2)) == [Event.SELECTED, Event.CONFIGURED]


def test_a_refused_model_does_not_raise_the_minimum_version(new_agent, service, round_files, clock):
    service.offer(round_files | {"plan": b"{}"}, model_version=900)
    refused(new_agent, "plan")
    clock.now += 4_000
    service.offer(round_files, model_version=5)
    assert events(steps(new_agent, 2)) == [Event.SELECTED, Event.CONFIGURED]


def test_absurd_plan_is_refused(new_agent, service, round_files):
    plan = round_files["plan"].replace(b'"learning_rate":0.5', b'"learning_rate":-0.5')
    service.offer(round_files | {"plan": plan})
    refused(new_agent, "plan")


def test_plan_that_does_not_fit_its_graph_is_refused(new_agent, service, round_files):
    plan = round_files["plan"].replace(b'"batch_size":4', b'"batch_size":8')
    service.offer(round_files | {"plan": plan})
    refused(new_agent, "target_weights must be float32 [8, 6]")


def test_checkpoint_with_nan_is_refused(new_agent, service, round_files, checkpoint):
    broken = checkpoint | {"gate_bias": np.full_like(checkpoint["gate_bias"], np.nan)}
    service.offer(round_files | {"checkpoint": encode_checkpoint(broken)})
    refused(new_agent, "gate_bias must be finite")


def test_graph_that_is_none_is_refused(new_agent, service, round_files):
    service.offer(round_files | {"training_graph": b"<html>not here</html>"})
    refused(new_agent, "TFLite")


def test_diverged_training_is_never_reported(new_agent, service, round_files):
    plan = round_files["plan"].replace(b'"learning_rate":0.5', b'"learning_rate":100.0')
    service.offer(round_files | {"plan": plan.replace(b'"local_epochs":1', b'"local_epochs":20')})
    refused(new_agent, "an update must be finite")
    assert service.reports == []


def test_missing_file_is_a_rejection(new_agent, service, round_files):
    service.offer(round_files)
    steps(new_agent, 1)
    problem = Problem(type="about:blank", title="no such file", status=404, detail="")
    service.override = lambda: Response(encode_message(problem), 404, content_type="application/problem+json")
    [outcome] = steps(new_agent, 1)
    assert outcome.event == Event.REJECTED
    assert "no such file" in outcome.reason


def test_a_report_that_is_rejected_is_dropped(new_agent, service, round_files, clock):
    service.offer(round_files)
    steps(new_agent, 3)
    service.check_in_answer = msgspec.structs.replace(service.check_in_answer, assignment_token="0" * 64)
    assert events(steps(new_agent, 1)) == [Event.REJECTED]
    clock.now += 5_000
    service.offer(round_files)
    assert events(steps(new_agent, 1)) == [Event.SELECTED]


def test_a_report_whose_receipt_was_lost_is_known_to_count(new_agent, service, round_files, clock, tmp_path):
    service.offer(round_files)
    steps(new_agent, 3)
    problem = Problem(type="urn:keychorus:problem:duplicate_report", title="duplicate report", status=409, detail="")
    service.override = lambda: Response(encode_message(problem), 409, content_type="application/problem+json")
    assert events(steps(new_agent, 1)) == [Event.REPORTED]
    assert StateFile(tmp_path / "tests" / "agent.json").load().rounds_reported == 1
    assert not (tmp_path / "tests" / "update.sealed").exists()
    service.override = lambda: None
    clock.now += 5_000
    service.offer(round_files)
    assert events(steps(new_agent, 1)) == [Event.SELECTED]


def test_an_update_damaged_on_disk_is_never_sent(new_agent, service, round_files, tmp_path):
    service.offer(round_files)
    steps(new_agent, 3)
    (tmp_path / "tests" / "update.sealed").write_bytes(b"damaged" * 100)
    assert events(steps(new_agent, 1)) == [Event.REFUSED]
    assert service.reports == []


def test_after_a_damaged_state_separation_version_and_id_are_kept(
    *, new_agent, service, round_files, clock, tmp_path, caplog
):
    service.offer(round_files)
    steps(new_agent, 4)
    state = StateFile(tmp_path / "tests" / "agent.json")
    before = state.load()
    (tmp_path / "tests" / "agent.json").write_bytes(b"{")
    clock.now += 200
    [outcome] = steps(new_agent, 1)
    assert (outcome.event, outcome.reason) == (Event.WAITING, "minimum separation")
    assert "got something unreadable; it lies at" in caplog.text
    assert (tmp_path / "tests" / f"agent.json.damaged-{clock.now:.0f}").read_bytes() == b"{"
    clock.now += 3_600
    service.offer(round_files, model_version=4)
    outcomes = steps(new_agent, 3)
    assert events(outcomes) == [Event.ENROLLED, Event.SELECTED, Event.REFUSED]
    assert "model_version must be >= 5, got 4" in outcomes[2].reason
    assert state.load().device_id == before.device_id


def test_after_losing_all_it_knew_a_device_keeps_away_for_long(new_agent, service, round_files, clock, tmp_path):
    service.offer(round_files)
    steps(new_agent, 4)
    asked = len(service.requests)
    for path in (tmp_path / "tests").glob("*.json"):
        path.write_bytes(b"\xff")
    for days in (0, 10, 20, 29):
        clock.now += days * 24 * 3600 - (clock.now - 1_700_000_000.0)
        assert events(steps(new_agent, 1)) == [Event.WAITING]
    assert len(service.requests) == asked
    clock.now += 24 * 3600
    service.offer(round_files)
    assert events(steps(new_agent, 2)) == [Event.ENROLLED, Event.SELECTED]


def test_a_log_without_targets_does_not_download_every_minute(new_agent, service, round_files, log):
    log.wipe()
    log.append("qzxv", "chat")  # one word, and the vocabulary does not know it
    service.offer(round_files)
    outcomes = steps(new_agent, 3)
    if outcomes[-1].event is Event.NOTHING_TO_TRAIN:
        assert outcomes[-1].next_step_in_s == FIRST_RETRY_S
    assert service.reports == []


def test_no_typed_word_is_sent_or_told(new_agent, service, round_files, messages, caplog):
    caplog.set_level("DEBUG")
    service.offer(round_files)
    outcomes = steps(new_agent, 4)
    told = repr(outcomes) + caplog.text + repr(service.requests)
    sent = b"".join(service.bodies)
    typed = {word for message in messages for word in message.split() if len(word) > 5}
    assert typed
    assert not [word for word in typed if word in told or word.encode() in sent]


@pytest.mark.parametrize("norm", [1e-3, 1e3])
def test_where_clipping_adapts_the_update_is_clipped_and_its_bit_is_behind_it(
    new_agent, service, round_files, plan, norm
):
    privacy = msgspec.structs.replace(plan.privacy, l2_clip_norm=norm, noise_multiplier=1.0, count_noise=5.0)
    adaptive = msgspec.structs.replace(plan, privacy=privacy)
    service.offer(round_files | {"plan": encode_plan(adaptive)})
    outcomes = steps(new_agent, 4)
    assert events(outcomes) == [Event.SELECTED, Event.CONFIGURED, Event.TRAINED, Event.REPORTED]
    [report] = service.reports
    vector = decode_update(report, plan.num_weights + 1)
    was_clipped = bool(outcomes[2].numbers["was_clipped"])
    assert was_clipped == (norm < 1)
    assert l2_norm(vector[:-1]) == pytest.approx(min(norm, outcomes[2].numbers["update_norm"]), rel=1e-5)
    assert vector[-1] == pytest.approx((-0.5 if was_clipped else 0.5) * privacy.bit_per_device, rel=1e-6)
    assert l2_norm(vector) < privacy.report_norm


def test_what_an_owner_asks_for_is_in_the_wishes(signing_key):
    promise = PrivacyPromise(max_epsilon=4.0, delta=1e-6)
    asked = {
        "require_secure_aggregation": True,
        "require_device_noise": True,
        "weakest_promise": promise,
        "discovers_words": True,
    }
    enrolment = Enrolment(service_url="https://s", population="tests", public_key=signing_key.public_key(), **asked)
    assert enrolment.wishes == Wishes(**asked)
