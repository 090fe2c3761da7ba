import pytest

from device_runtime.rounds.configuration import load_round
from protocol.errors import MalformedMessage, ProtocolError, WrongContent, WrongManifest
from protocol.manifest import FileEntry, Manifest
from protocol.weights import encode_checkpoint
from tokenizer.vocabulary import InvalidVocabulary


@pytest.fixture
def load(round_files):
    """Loads a round whose files are as they should be but for what a test changes; None leaves a file out."""

    def load_with(installed=None, **changes):
        contents = {name: content for name, content in (round_files | changes).items() if content is not None}
        entries = {name: FileEntry.of(content) for name, content in contents.items()}
        by_hash = {entries[name].sha256: content for name, content in contents.items()}
        manifest = Manifest(purpose="round", population="tests", model_version=1, created_at=0, files=entries)
        return load_round(manifest, lambda entry: by_hash[entry.sha256], installed)

    return load_with


def test_a_good_round_is_loaded(load, plan, graph, vocabulary):
    configuration = load()
    assert configuration.plan == plan
    assert configuration.graph == graph
    assert configuration.vocabulary.words == vocabulary.words


def test_the_installed_vocabulary_serves_where_it_is_the_same_or_none_is_named(load, vocabulary):
    assert load(installed=vocabulary).vocabulary is vocabulary
    assert load(installed=vocabulary, vocabulary=None).vocabulary is vocabulary


@pytest.mark.parametrize("name", ["plan", "training_graph", "checkpoint", "vocabulary"])
def test_every_file_is_needed(load, name):
    with pytest.raises(WrongManifest, match=name):
        load(**{name: None})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"learning_rate":0.5', b'"learning_rate":-0.5'),
        (b'"learning_rate":0.5', b'"learning_rate":1e9'),
        (b'"learning_rate":0.5', b'"learning_rate":NaN'),
        (b'"local_epochs":1', b'"local_epochs":1000000'),
        (b'"batch_size":4', b'"batch_size":0'),
        (b'"max_words":1000', b'"max_words":-1'),
        (b'"l2_clip_norm":0.25', b'"l2_clip_norm":0'),
        (b'"noise_multiplier":1.0', b'"noise_multiplier":-1.0'),
    ],
)
def test_absurd_plan_is_refused(load, round_files, old, new):
    assert old in round_files["plan"]
    with pytest.raises(MalformedMessage, match="not a valid plan"):
        load(plan=round_files["plan"].replace(old, new))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_checkpoint_that_is_not_finite_is_refused(load, checkpoint, value):
    broken = {name: array.copy() for name, array in checkpoint.items()}
    broken["projection"][0, 0] = value
    with pytest.raises(WrongContent, match="projection must be finite"):
        load(checkpoint=encode_checkpoint(broken))


@pytest.mark.parametrize("name", ["plan", "checkpoint"])
def test_garbage_is_refused(load, name):
    with pytest.raises(ProtocolError):
        load(**{name: b"garbage" * 100})


def test_garbage_vocabulary_is_refused(load):
    with pytest.raises(InvalidVocabulary):
        load(vocabulary=b"garbage" * 100)
