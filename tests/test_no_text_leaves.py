"""The promise itself: typed words are in nothing that a device sends, and in no file or program log but sealed.

A real service, the real daemon and the real keyboard page, each a process; a proxy keeps what a network sees.
"""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from recording_proxy import recording_proxy

from aggregation_service import operations
from aggregation_service.config import load_config
from aggregation_service.rounds.optimizer import ServerMomentum
from aggregation_service.rounds.parameters import RoundParameters
from device_runtime.releases.release import save_release
from device_runtime.typing_log import TypingLog
from emulator.service_process import running_service
from model.export import export_prediction_model, export_training_graph
from model.network import NetworkShape, initial_weights
from protocol.manifest import FileEntry, Manifest, sign_manifest
from protocol.plan import Plan, PrivacyParameters, TrainingParameters
from tokenizer.training import count_words, train_vocabulary
from tokenizer.vocabulary import Vocabulary

KEYCHORUS = Path(sys.executable).with_name("keychorus")
POPULATION = "english"
KNOWN = ["qwomble", "brindlefax", "zuverlax", "hyppotrane"]
"""Typed words that the vocabulary has, so that the device trains on them."""
UNKNOWN = ["xorvimatik", "plundergrost", "wiffeltonne"]
"""Typed words that no public file has."""
TYPED = [f"{known} {unknown}" for known in KNOWN for unknown in UNKNOWN]


def disguises(word):
    """A word as it is, as UTF-16, and as base64 would hide it, at each of the three offsets."""
    for spelling in (word, word.upper(), word.capitalize()):
        yield spelling.encode()
        yield spelling.encode("utf-16-le")
        for offset in range(3):
            encoded = base64.b64encode(b" " * offset + spelling.encode())
            yield encoded[4 if offset else 0 : -4]


def found(words, content):
    """How many of the words are in `content` (never which: this is printed if the test fails)."""
    return sum(any(disguise in content for disguise in disguises(word)) for word in words)


@pytest.fixture(scope="module")
def vocabulary():
    counts = count_words([*KNOWN, "how are you today", "see you soon"])
    return Vocabulary(train_vocabulary(counts, size=len(counts) + 9))


@pytest.fixture(scope="module")
def weights(vocabulary):
    return initial_weights(NetworkShape(vocabulary_size=len(vocabulary), embedding_size=8, num_units=12), seed=1)


@pytest.fixture(scope="module")
def service(tmp_path_factory, vocabulary, weights):
    """A population whose rounds take one device."""
    folder = tmp_path_factory.mktemp("service")
    shape = NetworkShape(vocabulary_size=len(vocabulary), embedding_size=8, num_units=12)
    paths = operations.initialise(folder / "data")
    config = load_config(paths.config_path)
    operations.add_population(config, POPULATION)
    operations.create_task(
        config,
        population=POPULATION,
        plan=Plan(
            tensors=shape.tensors,
            training=TrainingParameters(
                batch_size=4, sequence_length=6, local_epochs=1, learning_rate=0.5, max_words=1_000
            ),
            privacy=PrivacyParameters(l2_clip_norm=1.0, noise_multiplier=0.1, report_goal=1, minimum_separation_s=60.0),
        ),
        training_graph=export_training_graph(shape, batch_size=4, sequence_length=6),
        checkpoint=weights,
        parameters=RoundParameters(minimum_reports=1, over_selection=1.0),
        optimizer=ServerMomentum(momentum=0.9, learning_rate=1.0),
        vocabulary=vocabulary.model,
    )
    token = operations.create_enrolment_token(config, POPULATION, uses=1, days=1).token
    with running_service(paths.config_path, folder / "service.log") as running:
        yield running, folder, paths, token


@pytest.fixture(scope="module")
def release(tmp_path_factory, vocabulary, weights):
    folder, key = tmp_path_factory.mktemp("release"), Ed25519PrivateKey.generate()
    files = {
        "prediction_model": export_prediction_model(weights),
        "vocabulary": vocabulary.model,
        "casing": b"today\tToday\n",
        "privacy_statement": b"{}",
    }
    entries = {name: FileEntry.of(content) for name, content in files.items()}
    manifest = Manifest(purpose="release", population=POPULATION, model_version=1, created_at=0, files=entries)
    save_release(folder, sign_manifest(manifest, key), files, key.public_key())
    return folder


@contextmanager
def keyboard_page(release, data, log_path):
    """The page's process; gives its address."""
    command = [KEYCHORUS, "device", "keyboard", "--release", release, "--data-dir", data, "--no-open"]
    with log_path.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            started = re.search(rb"http://\S+", process.stdout.readline())
            assert started, log_path.read_text()
            yield started[0].decode()
        finally:
            process.terminate()
            rest = process.communicate(timeout=20)[0]
    with log_path.open("ab") as log:
        log.write(rest)


def post(address, path, message):
    """Status and body of the page's answer."""
    headers = {"Content-Type": "application/json", "Origin": "http://" + urlsplit(address).netloc}
    request = urllib.request.Request(address + path, json.dumps(message).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def run_daemon(url, public_key, data, log_path, *, steps, token=None):
    command = [KEYCHORUS, "device", "run", "--service", url, "--population", POPULATION, "--public-key", public_key]
    with log_path.open("ab") as log:
        options = ["--always-eligible", "--steps", str(steps), "--data-dir", data]
        environment = os.environ | ({"KEYCHORUS_ENROLMENT_TOKEN": token} if token else {})
        subprocess.run([*command, *options], stdout=log, stderr=log, check=False, timeout=120, env=environment)


@pytest.fixture(scope="module")
def life(tmp_path_factory, service, release):
    """A device that types, logs, trains, reports, and meets every kind of mishap; then everything it left behind."""
    running, service_folder, paths, token = service
    folder = tmp_path_factory.mktemp("device")
    data, logs = folder / "data", folder / "logs"
    logs.mkdir()
    data.mkdir(mode=0o700)
    with TypingLog(data / "typing_log.sqlite") as log:
        log.consent = True
    with keyboard_page(release, data, logs / "page.log") as address:
        admitted = [post(address, "messages", {"text": text, "field": "text"}) for text in TYPED]
        refused = [
            post(address, "suggestions", {"text": TYPED[0], KNOWN[0]: UNKNOWN[0]}),
            post(address, "suggestions", [TYPED[0]]),
            post(address, "messages", {"text": {KNOWN[0]: UNKNOWN[0]}}),
            post(address, f"messages/{UNKNOWN[0]}", {"text": TYPED[0]}),
            post(address, "messages", {"text": TYPED[0] * 10_000}),
        ]
        suggested = [post(address, "suggestions", {"text": text[:-1]})[0] for text in TYPED]
    with recording_proxy(urlsplit(running.url).port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        run_daemon(url, paths.public_key_path, data, logs / "daemon.log", steps=5, token=token)
    lonely = folder / "lonely"
    with TypingLog(lonely / "typing_log.sqlite") as log:
        log.consent = True
        log.append(TYPED[0], "test")
    run_daemon(url, paths.public_key_path, lonely, logs / "daemon.log", steps=1)  # nobody answers there now
    database = data / "typing_log.sqlite"
    database.write_bytes(TYPED[0].encode() * 1_000)  # a log that is damaged, by typed text of all things
    run_daemon(running.url, paths.public_key_path, data, logs / "daemon.log", steps=1)
    for damaged in data.glob("typing_log.sqlite*"):
        damaged.unlink()
    return {
        "admitted": [json.loads(body)["admission"] for _, body in admitted],
        "refused": refused,
        "suggested": suggested,
        "sent": bytes(proxy.sent),
        "received": bytes(proxy.received),
        "logs": {path.name: path.read_bytes() for path in logs.iterdir()},
        "data": {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()},
        "service": {path.name: path.read_bytes() for path in service_folder.rglob("*") if path.is_file()},
    }


def test_the_search_finds_what_is_there():
    for disguise in disguises(UNKNOWN[0]):
        assert found(UNKNOWN, b"... " + disguise + b" ...") == 1
    hidden = base64.b64encode(b"before " + KNOWN[0].encode() + b" after")
    assert found(KNOWN, hidden) == 1
    assert found(KNOWN + UNKNOWN, b"nothing at all") == 0


def test_the_device_did_live(life):
    assert life["admitted"] == ["stored"] * len(TYPED)
    assert all(400 <= status < 500 for status, _ in life["refused"])
    assert set(life["suggested"]) == {200}
    assert b"enrolled" in life["logs"]["daemon.log"]
    assert b"trained" in life["logs"]["daemon.log"]
    assert b"reported" in life["logs"]["daemon.log"]
    assert b"unavailable" in life["logs"]["daemon.log"]
    assert b"damaged" in life["logs"]["daemon.log"]
    assert b"PUT " in life["sent"]
    assert POPULATION.encode() in life["sent"]
    assert found(KNOWN, life["received"]) == len(KNOWN), "the vocabulary comes over this wire"


def test_nothing_typed_is_sent(life):
    assert found(KNOWN + UNKNOWN, life["sent"]) == 0


def test_nothing_typed_is_in_a_program_log(life):
    assert {name: found(KNOWN + UNKNOWN, content) for name, content in life["logs"].items()} == {
        "page.log": 0,
        "daemon.log": 0,
    }


def test_nothing_typed_is_in_a_refusal(life):
    assert [found(KNOWN + UNKNOWN, body) for _, body in life["refused"]] == [0] * len(life["refused"])


def test_nothing_typed_lies_open_on_the_disk(life):
    assert not [name for name, content in life["data"].items() if found(UNKNOWN, content)]


def test_nothing_typed_reaches_the_service(life):
    assert not [name for name, content in life["service"].items() if found(UNKNOWN, content)]
