import sqlite3

import pytest

from device_runtime.rounds.outcome import Event
from device_runtime.rounds.terms import TermsFile
from device_runtime.typing_log import DEFAULT_RETENTION_S, TypingLog

SWITCHES = ("consent", "incognito", "paused", "personal")


def test_a_fresh_device_knows_nothing(client):
    assert client.get("knowledge").json == {
        "switches": {"consent": False, "incognito": False, "paused": False, "personal": True},
        "held": {"messages": 0, "words": 0, "num_bytes": 0, "oldest_expires_at": None},
        "done": {
            "trained": 0,
            "last_trained_at": None,
            "reported": 0,
            "last_reported_at": None,
            "bytes_up": 0,
            "bytes_down": 0,
        },
        "model_version": 7,
        "privacy": "Reasonable protection of one device's whole log: ε = 8.00 at δ = 1e-06.",
        "terms": [
            {"about": "promised", "told": "not known yet; a round's plan says it"},
            {"about": "you ask for", "told": "not known; `keychorus device run` has not run here"},
        ],
    }


def test_what_is_held_and_done_is_told_in_numbers(client, empty_log, diary):
    empty_log.consent = True
    empty_log.append("xylophone tomorrow", "chat")
    diary.record(Event.TRAINED)
    diary.record(Event.REPORTED, bytes_up=123, bytes_down=4567)
    answer = client.get("knowledge")
    held, done = answer.json["held"], answer.json["done"]
    assert (held["messages"], held["words"]) == (1, 2)
    assert held["num_bytes"] > 0
    assert held["oldest_expires_at"] == pytest.approx(empty_log.counts().oldest_at + DEFAULT_RETENTION_S)
    assert (done["trained"], done["reported"], done["bytes_up"], done["bytes_down"]) == (1, 1, 123, 4567)
    assert done["last_trained_at"] <= done["last_reported_at"]
    assert "xylophone" not in answer.text


def test_what_the_population_promises_is_told(client, tmp_path, plan):
    with TermsFile(tmp_path / "tests").noting(plan):
        pass
    terms = {each["about"]: each["told"] for each in client.get("knowledge").json["terms"]}
    assert terms["clipped to"].startswith("norm 0.25")
    assert terms["last round"] == "training; accepted"


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [True, False])
def test_one_switch_moves_alone_and_for_good(*, client, empty_log, tmp_path, name, value):
    before = {each: getattr(empty_log, each) for each in SWITCHES}
    answer = client.post("switches", json={name: value})
    assert answer.json["switches"] == before | {name: value}
    with TypingLog(tmp_path / "typing_log.sqlite") as reopened:
        assert {each: getattr(reopened, each) for each in SWITCHES} == before | {name: value}


def test_a_switch_moved_by_another_process_is_seen(client, tmp_path):
    with TypingLog(tmp_path / "typing_log.sqlite") as other:
        other.paused = True
    assert client.get("knowledge").json["switches"]["paused"] is True


@pytest.mark.parametrize("body", [{"consent": 1}, {"consent": "yes"}, {"deny_list": []}, {"consent": True, "x": 1}])
def test_what_is_no_switch_is_refused(client, empty_log, body):
    assert client.post("switches", json=body).status_code == 400
    assert empty_log.consent is False


@pytest.mark.parametrize("with_key", [False, True])
def test_wiping_leaves_nothing(*, client, empty_log, with_key):
    empty_log.consent = True
    empty_log.append("see you", "chat")
    assert client.post("wipe", json={}).status_code == 400  # no wish, no wiping
    assert empty_log.counts().messages == 1
    assert client.post("wipe", json={"with_key": with_key}).json["held"]["messages"] == 0
    assert empty_log.counts().messages == 0


@pytest.mark.parametrize(
    ("method", "told"),
    [("counts", "could not be read"), ("wipe", "could not be wiped")],
)
def test_a_failing_log_is_told_in_one_sentence(*, client, empty_log, monkeypatch, method, told):
    def fail(*_, **__):
        raise sqlite3.OperationalError("about xylophones")

    monkeypatch.setattr(empty_log, method, fail)
    answer = client.get("knowledge") if method == "counts" else client.post("wipe", json={"with_key": False})
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert told in answer.json["detail"]
    assert "xylophones" not in answer.text
    assert client.post("suggestions", json={"text": "see you tom"}).json[0]["word"] == "tomorrow"
