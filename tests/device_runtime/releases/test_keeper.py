import itertools
import logging
import sqlite3

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_runtime.environment import new_session
from device_runtime.network.client import ServiceClient
from device_runtime.releases.keeper import AdoptionPolicy, NoRelease, ReleaseKeeper, ShelfState, Verdict
from device_runtime.storage.files import only_process
from device_runtime.suggestions.personal import PersonalModel
from model.export import export_prediction_model
from model.network import initial_weights
from protocol.errors import ProtocolError
from protocol.manifest import FileEntry, Manifest, SignedManifest, check_content, sign_manifest
from protocol.messages import decode_message, encode_message
from tokenizer.training import count_words, train_vocabulary

POLICY = AdoptionPolicy(margin_nats=0.05, min_words=20, max_words=500)


@pytest.fixture
def files(prediction_model, vocabulary, casing):
    return {
        "prediction_model": prediction_model,
        "vocabulary": vocabulary.model,
        "casing": casing.to_tsv(),
        "privacy_statement": b"{}",
    }


@pytest.fixture
def keeper(tmp_path, signing_key, log):
    return ReleaseKeeper(tmp_path / "tests" / "releases", signing_key.public_key(), "tests", log=log, policy=POLICY)


@pytest.fixture
def client(service):
    with new_session() as session:
        yield ServiceClient(service.base_url, session)


@pytest.fixture
def offer(service, files, signing_key):
    """The service's newest release: `offer(version, prediction_model=...)`."""

    def make(version, *, key=signing_key, population="tests", purpose="release", at=0, rollback=False, **changed):
        contents = {name: content for name, content in (files | changed).items() if content is not None}
        entries = {name: FileEntry.of(content) for name, content in contents.items()}
        service.files |= {entries[name].sha256: content for name, content in contents.items()}
        manifest = Manifest(
            purpose=purpose,
            population=population,
            model_version=version,
            created_at=at,
            files=entries,
            is_rollback=True if rollback else msgspec.UNSET,
        )
        signed = encode_message(sign_manifest(manifest, key))

        def answer():
            wanted = service.requests[-1][1].endswith("/release")
            return Response(signed, content_type="application/json") if wanted else None

        service.override = answer
        return decode_message(signed, SignedManifest)

    return make


@pytest.fixture
def biased(checkpoint, vocabulary):
    """A model that thinks much or little of a word, whatever came before."""

    def make(amount, word="see"):
        bias = checkpoint["output_bias"].copy()
        bias[vocabulary.id_of(word)] += amount
        return export_prediction_model({**checkpoint, "output_bias": bias})

    return make


def downloads(service):
    return [path for method, path in service.requests if not path.endswith("/release")]


def test_the_first_release_is_adopted_and_suggests(keeper, client, offer):
    with pytest.raises(NoRelease):
        keeper.current()
    offer(3)
    decision = keeper.refresh(client)
    assert decision == (Verdict.ADOPTED, 3, 0, 0.0)
    assert len(keeper.current().predictor().suggest("see ")) == 3


def test_the_same_again_is_not_downloaded(keeper, client, offer, service):
    offer(3)
    keeper.refresh(client)
    before = len(downloads(service))
    assert keeper.refresh(client).verdict is Verdict.UNCHANGED
    assert len(downloads(service)) == before


def test_what_the_present_release_has_is_not_downloaded_again(keeper, client, offer, service, biased):
    offer(3)
    keeper.refresh(client)
    before = len(downloads(service))
    offer(4, prediction_model=biased(0.01))
    assert keeper.refresh(client).verdict is Verdict.ADOPTED
    assert len(downloads(service)) == before + 1


def test_a_rollback_goes_back_and_the_withdrawn_release_does_not_come_again(keeper, client, offer, biased):
    offer(3, at=100)
    keeper.refresh(client)
    withdrawn = biased(0.01)
    offer(4, at=200, prediction_model=withdrawn)
    assert keeper.refresh(client).verdict is Verdict.ADOPTED
    offer(3, at=300, rollback=True)
    assert keeper.refresh(client) == (Verdict.ADOPTED, 3, 0, 0.0)
    assert keeper.current().manifest.model_version == 3
    for version, at, changes in ((4, 200, {"prediction_model": withdrawn}), (3, 100, {})):
        offer(version, at=at, **changes)
        assert keeper.refresh(client).verdict is Verdict.OLDER, "a replayed manifest is refused"
    offer(5, at=400, prediction_model=biased(0.02))
    assert keeper.refresh(client).verdict is Verdict.ADOPTED, "releases go on after a rollback"
    offer(3, at=300, rollback=True)
    assert keeper.refresh(client).verdict is Verdict.OLDER, "a replayed rollback is refused too"


def test_a_rollback_is_adopted_although_it_foresees_the_log_less_well(keeper, client, offer, biased):
    offer(4, at=200, prediction_model=biased(0.0))
    keeper.refresh(client)
    worse = biased(9.0, "station")
    offer(5, at=250, prediction_model=worse)
    assert keeper.refresh(client).verdict is Verdict.WORSE
    offer(3, at=300, prediction_model=worse, rollback=True)
    assert keeper.refresh(client).verdict is Verdict.ADOPTED


@pytest.mark.parametrize("at", [0, 199, 200, 201])
def test_an_older_model_that_is_no_rollback_is_refused_whenever_it_was_signed(keeper, client, offer, biased, at):
    offer(4, at=200)
    keeper.refresh(client)
    offer(3, at=at, prediction_model=biased(0.01))
    assert keeper.refresh(client).verdict is Verdict.OLDER


def test_a_damaged_rollback_is_not_adopted(keeper, client, offer):
    offer(4, at=200)
    keeper.refresh(client)
    offer(3, at=300, rollback=True, prediction_model=b"TFL3 is not enough")
    assert keeper.refresh(client).verdict is Verdict.UNUSABLE
    assert keeper.current().manifest.model_version == 4


def test_an_older_release_needs_the_person(keeper, client, offer, biased):
    offer(3)
    keeper.refresh(client)
    offer(4, prediction_model=biased(0.01))
    keeper.refresh(client)
    offer(3)
    assert keeper.refresh(client).verdict is Verdict.OLDER
    assert keeper.rollback().manifest.model_version == 3
    offer(4, prediction_model=biased(0.01))
    assert keeper.refresh(client).verdict is Verdict.REFUSED_BEFORE
    assert keeper.current().manifest.model_version == 3
    offer(5, prediction_model=biased(0.02))
    assert keeper.refresh(client).verdict is Verdict.ADOPTED


@pytest.mark.parametrize(("amount", "verdict"), [(30.0, Verdict.WORSE), (0.05, Verdict.ADOPTED)])
def test_worse_on_the_devices_own_messages_is_refused(*, keeper, client, offer, biased, amount, verdict):
    offer(3)
    keeper.refresh(client)
    offer(4, prediction_model=biased(amount))
    decision = keeper.refresh(client)
    assert decision.verdict is verdict
    assert decision.num_words > 20
    assert (decision.gain_nats < -0.05) == (verdict is Verdict.WORSE)
    assert keeper.current().manifest.model_version == (3 if verdict is Verdict.WORSE else 4)
    again = keeper.refresh(client).verdict
    assert again is (Verdict.REFUSED_BEFORE if verdict is Verdict.WORSE else Verdict.UNCHANGED)


def test_without_consent_or_with_few_words_there_is_no_comparison(keeper, client, offer, biased, log):
    offer(3)
    keeper.refresh(client)
    log.consent = False
    offer(4, prediction_model=biased(30.0))
    assert keeper.refresh(client) == (Verdict.ADOPTED, 4, 0, 0.0)


def test_a_larger_vocabulary_may_come_with_a_model_of_its_size(*, keeper, client, offer, messages, shape, log):
    offer(3)
    keeper.refresh(client)
    counts = count_words([*messages, "zorble flink"])
    words = [word for word in counts if word not in ".,?!:;"]
    larger = train_vocabulary(counts, size=len(words) + 3 + 6)
    wider = type(shape)(vocabulary_size=len(words) + 9, embedding_size=8, num_units=12)
    log.extend([("the zorble and the flink", "chat", 1_700_000_000.0 - index) for index in range(40)])
    offer(4, vocabulary=larger, prediction_model=export_prediction_model(initial_weights(wider, seed=3)))
    decision = keeper.refresh(client)
    assert decision.verdict is Verdict.ADOPTED
    assert decision.gain_nats > 0  # it knows words that the present one does not
    assert PersonalModel(log).blend(keeper.current().model()) is not None


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"prediction_model": b"no model at all"}, Verdict.UNUSABLE),
        ({"vocabulary": b"no vocabulary"}, Verdict.UNUSABLE),
        ({"casing": b"\xff\xff"}, Verdict.UNUSABLE),
        ({"blocked_words": b"two words"}, Verdict.UNUSABLE),
        ({"casing": None}, Verdict.WRONG_MANIFEST),
        ({"population": "other"}, Verdict.WRONG_MANIFEST),
        ({"purpose": "round"}, Verdict.WRONG_MANIFEST),
        ({"key": Ed25519PrivateKey.generate()}, Verdict.WRONG_SIGNATURE),
    ],
)
def test_what_is_not_sound_is_refused_with_its_reason(keeper, client, offer, changed, verdict):
    offer(3)
    keeper.refresh(client)
    offer(4, **changed)
    assert keeper.refresh(client).verdict is verdict
    assert keeper.current().manifest.model_version == 3


def test_a_training_graph_or_a_model_of_another_size_is_unusable(keeper, client, offer, graph, shape):
    narrower = type(shape)(vocabulary_size=30, embedding_size=8, num_units=12)
    for version, model in enumerate((graph, export_prediction_model(initial_weights(narrower, 1))), start=4):
        offer(version, prediction_model=model)
        assert keeper.refresh(client).verdict is Verdict.UNUSABLE
    assert len(keeper.state().refused) == 2


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_file_cut_short_on_the_way_is_never_loaded(*, keeper, client, offer, service, keep, prediction_model):
    offer(3)
    entry = FileEntry.of(prediction_model)
    service.files[entry.sha256] = prediction_model[: int(keep * len(prediction_model))]
    assert keeper.refresh(client).verdict is Verdict.DAMAGED
    with pytest.raises(NoRelease):
        keeper.current()
    service.files[entry.sha256] = prediction_model
    assert keeper.refresh(client).verdict is Verdict.ADOPTED  # what broke on the way is tried again


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (lambda: Response("no", 503), Verdict.UNREACHABLE),
        (lambda: Response("no", 404), Verdict.NONE_YET),
        (lambda: Response("<html>", content_type="text/html"), Verdict.DAMAGED),
        (lambda: Response("[]", content_type="application/json"), Verdict.DAMAGED),
        (lambda: Response("", 302, headers={"Location": "/elsewhere"}), Verdict.DAMAGED),
    ],
)
def test_whatever_the_service_answers_is_a_verdict(keeper, client, service, answer, verdict):
    service.override = answer
    assert keeper.refresh(client) == (verdict, None, 0, 0.0)


def test_no_service_is_a_verdict(keeper):
    with new_session() as session:
        assert keeper.refresh(ServiceClient("http://127.0.0.1:9", session)).verdict is Verdict.UNREACHABLE


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_release_is_refused(keeper, offer, files, data):
    """Bytes changed, cut or added anywhere, in the manifest or in a file: never adopted, never a raw error."""
    signed = offer(3)
    spoilt = data.draw(st.sampled_from(["manifest", "signature", *files]))
    original = getattr(signed, spoilt) if spoilt in ("manifest", "signature") else files[spoilt]
    place = data.draw(st.integers(0, len(original) - 1))
    change = data.draw(st.sampled_from(["cut", "flip", "grow"]))
    changed = {
        "cut": original[:place],
        "flip": original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :],
        "grow": original + b"\0",
    }[change]
    if spoilt == "signature" and change != "flip":
        changed = changed.ljust(64, b"\0")[:64][::-1]
    received = msgspec.structs.replace(signed, **{spoilt: changed}) if spoilt not in files else signed

    def get(name, entry):
        return check_content(changed if name == spoilt else files[name], entry)

    try:
        verdict = keeper.consider(received, get).verdict
    except ProtocolError:
        verdict = Verdict.DAMAGED
    assert verdict in (Verdict.DAMAGED, Verdict.WRONG_SIGNATURE)
    assert keeper.state() == ShelfState()


def test_personalisation_is_tuned_for_what_suggests_now(keeper, client, offer, log, clock):
    log.extend([("see you at the zorble soon", "chat", clock.now - 50 + index / 10) for index in range(60)])
    offer(3)
    keeper.refresh(client)
    personal = PersonalModel(log)
    predictor = keeper.current().predictor(personal=personal)
    assert [each.word for each in predictor.suggest("at the zor")] == ["zorble"]


def test_it_stops_within_a_message_when_told_to(*, tmp_path, signing_key, log, client, offer, biased):
    stops = itertools.chain([False], itertools.repeat(True))
    stopped = ReleaseKeeper(
        tmp_path / "r", signing_key.public_key(), "tests", log=log, policy=POLICY, should_stop=lambda: next(stops)
    )
    offer(3)
    assert stopped.refresh(client).verdict is Verdict.INTERRUPTED
    assert stopped.state() == ShelfState()


def test_an_adoption_is_told_though_tuning_was_stopped(*, tmp_path, signing_key, log, client, offer):
    compared = len(log.messages(500))
    polls = itertools.count()
    stopped = ReleaseKeeper(
        tmp_path / "r", signing_key.public_key(), "tests", log=log, should_stop=lambda: next(polls) >= compared
    )
    offer(3)
    assert stopped.refresh(client).verdict is Verdict.ADOPTED
    assert stopped.refresh(client).verdict is Verdict.INTERRUPTED


def test_two_processes_do_not_adopt_at_once(keeper, client, offer, tmp_path):
    offer(3)
    (tmp_path / "tests" / "releases").mkdir(parents=True)
    with only_process(tmp_path / "tests" / "releases" / "releases.lock"):
        assert keeper.refresh(client).verdict is Verdict.BUSY


def test_a_full_disk_is_a_verdict(keeper, client, offer, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    offer(3)
    monkeypatch.setattr("device_runtime.releases.release.write_atomically", full)
    assert keeper.refresh(client).verdict is Verdict.UNREACHABLE
    assert keeper.state() == ShelfState()


def test_a_failing_log_does_not_keep_a_release_away(*, keeper, client, offer, log, monkeypatch, caplog):
    def fail(_max_words):
        raise sqlite3.OperationalError("disk I/O error")

    offer(3)
    monkeypatch.setattr(log, "messages", fail)
    with caplog.at_level(logging.INFO):
        assert keeper.refresh(client).verdict is Verdict.ADOPTED
    assert "not compared" in caplog.text


def test_nothing_typed_reaches_the_programs_log(*, keeper, client, offer, biased, caplog, messages):
    with caplog.at_level(logging.DEBUG):
        for version, amount in ((3, 0.0), (4, 30.0), (5, 0.01)):
            offer(version, prediction_model=biased(amount))
            keeper.refresh(client)
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("device_runtime"))
    assert "worse" in ours
    assert not {"tomorrow", "station", "morning", "thanks"} & set(ours.split())


@pytest.mark.parametrize("bounds", [{"margin_nats": -0.1}, {"margin_nats": float("nan")}, {"min_words": 0}])
def test_an_absurd_policy_is_refused(bounds):
    with pytest.raises(ValueError, match=f"{next(iter(bounds))} must be"):
        AdoptionPolicy(**bounds)
