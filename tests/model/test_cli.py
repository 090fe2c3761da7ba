"""What a workstation writes for a new task is what service and devices take."""

import pytest
from click.testing import CliRunner

from model.cli import model
from model.network import SMALL
from protocol.plan import decode_plan
from protocol.weights import decode_checkpoint, encode_checkpoint
from tokenizer.vocabulary import Vocabulary


def run(*arguments):
    return CliRunner().invoke(model, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task") / "english"
    ran = run("new", folder, "--size", "small", "--report-goal", 7)
    assert ran.exit_code == 0, ran.output
    return folder


def test_a_new_task_is_whole(folder):
    plan = decode_plan((folder / "plan.json").read_bytes())
    assert plan.privacy.report_goal == 7
    assert len(Vocabulary((folder / "vocabulary.model").read_bytes())) == SMALL.vocabulary_size
    decode_checkpoint((folder / "weights.safetensors").read_bytes(), plan.tensors)
    assert (folder / "training.tflite").read_bytes()[4:8] == b"TFL3"


def test_a_checkpoint_becomes_a_prediction_model(folder, tmp_path):
    path = tmp_path / "prediction_model.tflite"
    ran = run("export-prediction-model", folder / "weights.safetensors", path, "--size", "small")
    assert ran.exit_code == 0, ran.output
    assert path.read_bytes()[4:8] == b"TFL3"


def test_errors_are_one_sentence(folder, tmp_path):
    ran = run("new", tmp_path, "--language", "xx", "--size", "small")
    assert ran.exit_code == 1
    assert "language 'xx'" in ran.output
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(encode_checkpoint({}))
    ran = run("export-prediction-model", wrong, tmp_path / "x", "--size", "small")
    assert ran.exit_code == 1
    assert len(ran.output.splitlines()) == 1
