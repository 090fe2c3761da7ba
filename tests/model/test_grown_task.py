"""A task that grows by discovered words: from a folder to a folder, and on to the service."""

import math

import numpy as np
import pytest
from click.testing import CliRunner

from aggregation_service import operations
from aggregation_service.cli import service
from aggregation_service.config import load_config
from device_runtime.rounds.trainer import train
from model.cli import model
from model.grown_task import WrongWords, read_words
from model.network import SMALL
from protocol.plan import decode_plan
from protocol.weights import decode_checkpoint
from tokenizer.vocabulary import UNKNOWN_ID, Vocabulary

WORDS = b"zorble\t31.25\nquargel\t12.5\n"


def run(*arguments):
    return CliRunner().invoke(model, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    assert run("new", folder / "old", "--size", "small", "--noise-multiplier", 0, "--report-goal", 7).exit_code == 0
    (folder / "words.tsv").write_bytes(WORDS)
    ran = run("grow", "--model", folder / "old", "--words", folder / "words.tsv", "--output", folder / "grown")
    assert ran.exit_code == 0, ran.output
    assert "2 new words, 1,002 ids" in ran.output
    return folder


def files_of(folder):
    plan = decode_plan((folder / "plan.json").read_bytes())
    vocabulary = Vocabulary((folder / "vocabulary.model").read_bytes())
    return plan, vocabulary, decode_checkpoint((folder / "weights.safetensors").read_bytes(), plan.tensors)


def test_old_words_stay_where_they_are_and_new_ones_follow(folder):
    (old_plan, old, before), (plan, grown, after) = (files_of(folder / name) for name in ("old", "grown"))
    assert (old.id_of("zorble"), len(grown)) == (UNKNOWN_ID, len(old) + 2)
    assert [grown.id_of(word) for word in ("zorble", "quargel")] == [SMALL.vocabulary_size, SMALL.vocabulary_size + 1]
    assert (plan.privacy, plan.training) == (old_plan.privacy, old_plan.training)
    for name in ("embedding", "output_bias"):
        np.testing.assert_array_equal(after[name][: len(old)], before[name])


def test_a_device_trains_with_what_has_grown(folder):
    plan, vocabulary, weights = files_of(folder / "grown")
    graph = (folder / "grown" / "training.tflite").read_bytes()
    update = train(
        plan, graph, weights, ["see the zorble and the quargel"] * 8, vocabulary, seed=1, should_stop=lambda: False
    )
    assert update.steps >= 1
    assert math.isfinite(update.last_loss)
    rows = update.update[: plan.tensors[0].size].reshape(plan.tensors[0].shape)
    assert np.abs(rows[vocabulary.id_of("zorble")]).max() > 0


def test_a_new_task_of_the_service_begins_from_it_and_its_weights_come_back(folder, tmp_path):
    paths = operations.initialise(tmp_path / "service")
    operations.add_population(load_config(paths.config_path), "english")
    config = ["--config", str(paths.config_path)]
    grown = folder / "grown"
    names = {"plan": "plan.json", "training-graph": "training.tflite", "vocabulary": "vocabulary.model"}
    files = [f"--{name}={grown / file}" for name, file in {**names, "checkpoint": "weights.safetensors"}.items()]
    ran = CliRunner().invoke(service, ["task", "create", "english", *files, "--minimum-reports", "5", *config])
    assert ran.exit_code == 0, ran.output
    output = tmp_path / "newest.safetensors"
    ran = CliRunner().invoke(service, ["task", "weights", "english", "--output", str(output), *config])
    assert ran.exit_code == 0, ran.output
    plan, _, weights = files_of(grown)
    found = decode_checkpoint(output.read_bytes(), plan.tensors)
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_graphs_and_prediction_models_of_grown_networks_are_exported(folder, tmp_path):
    grown = folder / "grown"
    vocabulary = grown / "vocabulary.model"
    ran = run("export-training-graph", tmp_path / "train.tflite", "--size", "small", "--vocabulary", vocabulary)
    assert ran.exit_code == 0, ran.output
    assert "for 33,258 weights" in ran.output  # 33,208, and 25 a word
    arguments = (grown / "weights.safetensors", tmp_path / "predict.tflite", "--size", "small")
    assert run("export-prediction-model", *arguments, "--vocabulary", vocabulary).exit_code == 0
    refused = run("export-prediction-model", *arguments)
    assert refused.exit_code == 1
    assert len(refused.output.splitlines()) == 1


def test_words_that_are_known_already_are_left_out(folder, tmp_path):
    (tmp_path / "words.tsv").write_bytes(WORDS + b"frumious\t3\n")
    ran = run("grow", "--model", folder / "grown", "--words", tmp_path / "words.tsv", "--output", tmp_path / "again")
    assert ran.exit_code == 0, ran.output
    assert "1 new words, 1,003 ids; 2 were known" in ran.output


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\t1\n",
        b"zorble\n",
        b"zorble\tmany\n",
        b"zorble\t0\n",
        b"zorble\t-1\n",
        b"zorble\tnan\n",
        b"zorble\tinf\n",
        b"\t3\n",
        b"quib\t3\nquib\t4\n",
        b"x" * (4 * 1024 * 1024 + 1),
    ],
)
def test_lists_that_are_none_are_refused_without_a_word_of_them(content):
    with pytest.raises(WrongWords) as refused:
        read_words(content)
    assert "zorble" not in str(refused.value)
    assert "quib" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"two words\t3\n", b"Upper\t3\n", b"zorble\n"])
def test_the_command_refuses_in_a_sentence(folder, tmp_path, content):
    (tmp_path / "words.tsv").write_bytes(content)
    ran = run("grow", "--model", folder / "old", "--words", tmp_path / "words.tsv", "--output", tmp_path / "new")
    assert ran.exit_code == 1
    assert len(ran.output.splitlines()) == 1
    assert content.split(b"\t", maxsplit=1)[0].strip().decode() not in ran.output
    assert not (tmp_path / "new").exists()


def test_weights_of_another_network_are_refused(folder, tmp_path):
    ran = run(
        "grow", "--model", folder / "old", "--words", folder / "words.tsv", "--output", tmp_path / "new",
        "--checkpoint", folder / "grown" / "weights.safetensors",
    )  # fmt: skip
    assert ran.exit_code == 1
    assert len(ran.output.splitlines()) == 1
