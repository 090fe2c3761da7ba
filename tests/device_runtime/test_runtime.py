import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from device_runtime import runtime as adapter
from device_runtime.runtime import RUNTIME_VARIABLE, InvalidModel, Model, RuntimeMissing, runtime_name


def test_signatures_are_described_by_name(graph, plan, each_runtime):
    model = Model(graph)
    assert model.signature_names == {"train", "evaluate"}
    inputs = model.signature("train").inputs
    assert inputs["tokens"] == ((4, 6), np.dtype(np.int32))
    for spec in plan.tensors:
        assert inputs[spec.name] == (spec.shape, np.dtype(np.float32))


def test_results_are_new_arrays(prediction_model, each_runtime):
    signature = Model(prediction_model).signature("predict")
    inputs = {name: np.zeros(details.shape, details.dtype) for name, details in signature.inputs.items()}
    first = signature(inputs)
    kept = first["logits"].copy()
    signature(inputs | {"token": np.array([5], np.int32)})
    np.testing.assert_array_equal(first["logits"], kept)


def test_outputs_go_into_the_arrays_that_are_given(prediction_model, each_runtime):
    signature = Model(prediction_model).signature("predict")
    inputs = {name: np.zeros(details.shape, details.dtype) for name, details in signature.inputs.items()}
    expected = signature(inputs)
    given = {"logits": np.full(signature.outputs["logits"].shape, np.nan, np.float32)}
    got = signature.run(into=given)
    assert got["logits"] is given["logits"]
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)
    kept = given["logits"].copy()
    signature(inputs | {"token": np.array([5], np.int32)})
    np.testing.assert_array_equal(given["logits"], kept)


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.float32), np.zeros((1, 1), np.float32), np.zeros(1)], ids=["size", "shape", "type"]
)
def test_arrays_for_outputs_that_do_not_fit_are_refused(prediction_model, array, each_runtime):
    signature = Model(prediction_model).signature("predict")
    signature.set({name: np.zeros(details.shape, details.dtype) for name, details in signature.inputs.items()})
    with pytest.raises(InvalidModel, match="predict has no output logits"):
        signature.run(into={"logits": array})


def test_runtimes_agree(prediction_model, generator):
    results = []
    state = generator.normal(size=(1, 12)).astype(np.float32)
    for runtime in ("tflite_runtime", "ai_edge_litert"):
        signature = Model(prediction_model, runtime=runtime).signature("predict")
        inputs = {name: np.zeros(details.shape, details.dtype) for name, details in signature.inputs.items()}
        results.append(signature(inputs | {"token": np.array([4], np.int32), "state_cell": state})["logits"])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"\x1c\0\0\0TFL", b"<html>" * 50])
def test_what_is_no_model_is_refused(content, each_runtime):
    with pytest.raises(InvalidModel):
        Model(content)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_truncated_model_is_refused_by_the_runtime_that_verifies(graph, share):
    with pytest.raises(InvalidModel):
        Model(graph[: int(len(graph) * share)], runtime="ai_edge_litert").signature("train")


def test_unknown_signature_is_refused(graph, each_runtime):
    with pytest.raises(InvalidModel, match="must have a signature predict, got evaluate, train"):
        Model(graph).signature("predict")


@pytest.mark.parametrize(
    "inputs",
    [
        {"token": np.zeros(2, np.int32)},
        {"token": np.zeros(1, np.float32)},
        {"state_cell": np.zeros((1, 11), np.float32)},
        {"tokens": np.zeros(1, np.int32)},
    ],
    ids=["shape", "type", "state's shape", "name"],
)
def test_inputs_that_do_not_fit_are_refused(prediction_model, inputs, each_runtime):
    with pytest.raises(InvalidModel, match="predict has no input"):
        Model(prediction_model).signature("predict").set(inputs)


def test_loading_a_runtime_leaves_the_smallest_numbers_alone(each_runtime, graph, tmp_path):
    """On aarch64 tflite-runtime's library flushes them to zero in the thread that loads it."""
    (tmp_path / "graph").write_bytes(graph)
    program = (
        "import sys; from pathlib import Path; from device_runtime.runtime import Model\n"
        "Model(Path(sys.argv[1]).read_bytes()).signature('train')\n"
        "assert sys.float_info.min / 2 > 0"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "graph"], check=True, timeout=60)


def test_runtime_is_chosen_by_argument_then_environment(monkeypatch):
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    assert runtime_name() == "tflite_runtime"
    monkeypatch.setenv(RUNTIME_VARIABLE, "ai_edge_litert")
    assert runtime_name() == "ai_edge_litert"
    assert runtime_name("tflite_runtime") == "tflite_runtime"
    with pytest.raises(RuntimeMissing, match="got os"):
        runtime_name("os")


def test_the_device_imports_neither_tensorflow_nor_other_folders():
    program = (
        "import sys, device_runtime.cli, device_runtime.keyboard.server, device_runtime.keyboard.app\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*(found & {'tensorflow', 'model', 'aggregation_service', 'emulator', 'evaluation'}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == ""


def test_threads_that_load_at_once_all_wait_for_the_whole_module(tmp_path, monkeypatch):
    (tmp_path / "slowly_loaded.py").write_text("import time\ntime.sleep(0.3)\nready = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slowly_loaded", raising=False)
    with ThreadPoolExecutor(3) as threads:
        loaded = list(threads.map(adapter._loaded, ["slowly_loaded"] * 3))
    monkeypatch.delitem(sys.modules, "slowly_loaded")
    assert all(module.ready for module in loaded)
