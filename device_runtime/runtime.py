"""The one adapter that knows tflite-runtime from ai-edge-litert.

A TFLite file is run by C++ code that trusts its offsets, so a forged one can crash the process. Files are therefore
opened only after their SHA-256 and the signature over it were checked (`protocol.manifest`); what is checked here
catches mistakes, not attacks.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

RUNTIMES = ("tflite_runtime", "ai_edge_litert")
RUNTIME_VARIABLE = "KEYCHORUS_TFLITE"
"""Environment variable that names one of `RUNTIMES`; without it the first that is installed serves."""

_loading = Lock()
_IDENTIFIER = b"TFL3"  # FlatBuffers file identifier of a TFLite model, bytes 4 to 8

Array = npt.NDArray[Any]


class InvalidModel(Exception):
    """Bytes that are no TFLite model, or a model that this runtime cannot run."""


class RuntimeMissing(Exception):
    """None of the TFLite runtimes is installed, or an unknown one was asked for."""


class TensorDetails(NamedTuple):
    """Shape and type of an input or output."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Signature:
    """A named function of a model: arrays by name in, arrays by name out.

    The runtimes' own signature runner resizes every input and allocates at each call, which costs time and crashes
    ai-edge-litert on emulated ARM while training. Shapes are fixed here, so tensors are allocated once.
    """

    def __init__(self, interpreter: Any, name: str):
        runner = interpreter.get_signature_runner(name)
        self.name = name
        self.inputs = _details(runner.get_input_details())
        self.outputs = _details(runner.get_output_details())
        self._indices = {key: entry["index"] for key, entry in runner.get_input_details().items()}
        self._output_indices = {key: entry["index"] for key, entry in runner.get_output_details().items()}
        self._interpreter = interpreter  # keeps the model's memory alive
        # Only the wrapper below the public class takes a subgraph's index; both runtimes have the same one.
        self._engine = interpreter._interpreter  # noqa: SLF001
        self._subgraph = self._engine.GetSubgraphIndexFromSignature(name)
        self._engine.AllocateTensors(self._subgraph)

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the function once.

        Args:
          inputs: an array for each of `self.inputs`, of exactly its shape and type.

        Returns:
          A new array for each of `self.outputs`.

        Raises:
          InvalidModel: an input is missing or does not fit, or an operator failed.

        """
        self.set(inputs)
        return self.run()

    def set(self, inputs: Mapping[str, Array]) -> None:
        """Copies some inputs into the model.

        Raises:
          InvalidModel: an input is unknown or does not fit.

        """
        try:
            for name, value in inputs.items():
                self._engine.SetTensor(self._indices[name], value, self._subgraph)
        except (KeyError, ValueError, RuntimeError):
            raise InvalidModel(f"signature {self.name} has no input {name} of the given shape and type") from None

    def run(self, into: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Runs the function on the inputs set last.

        Args:
          into: arrays for some of the outputs, of exactly their shapes and types; what they held is replaced. It spares
            a training step, which gives 6 MB of weights, asking the system for fresh memory.

        Returns:
          An array for each of `self.outputs`: that of `into`, or a new one.

        Raises:
          InvalidModel: an operator failed, or an array of `into` does not fit.

        """
        try:
            self._engine.Invoke(self._subgraph)
        except (ValueError, RuntimeError, MemoryError):
            raise InvalidModel(f"signature {self.name} failed to run") from None
        return {name: self._read(name, None if into is None else into.get(name)) for name in self.outputs}

    def _read(self, name: str, into: Array | None) -> Array:
        index = self._output_indices[name]
        if into is None:
            new: Array = self._engine.GetTensor(index, self._subgraph)
            return new
        if (into.shape, into.dtype) != self.outputs[name]:
            raise InvalidModel(f"signature {self.name} has no output {name} of the given shape and type")
        # A view of the model's own memory: it must not outlive this line.
        np.copyto(into, self._engine.tensor(self._engine, index, self._subgraph))
        return into


def _details(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, TensorDetails]:
    return {
        name: TensorDetails(tuple(int(size) for size in entry["shape"]), np.dtype(entry["dtype"]))
        for name, entry in entries.items()
    }


def runtime_name(preferred: str | None = None) -> str:
    """The runtime that `load_interpreter` uses.

    Args:
      preferred: one of `RUNTIMES`; otherwise the environment decides, see `RUNTIME_VARIABLE`.

    Raises:
      RuntimeMissing: none is installed, or the one asked for is unknown or not installed.

    """
    wanted = preferred or os.environ.get(RUNTIME_VARIABLE)
    candidates = RUNTIMES if wanted is None else (wanted,)
    for name in candidates:
        if name in RUNTIMES and importlib.util.find_spec(name) is not None:
            return name
    raise RuntimeMissing(f"a TFLite runtime must be one of {', '.join(RUNTIMES)}, installed; got {wanted or 'none'}")


def _loaded(module: str) -> Any:
    """Imports a runtime in a thread that ends with it.

    tflite-runtime's library for aarch64 makes the processor round tiny numbers to zero in whichever thread loads it. A
    check such as "more than 0", which msgspec holds as "at least 5e-324", would then let 0 pass in all of the program.
    """
    with _loading:  # a module is in `sys.modules` before it is complete
        if module in sys.modules:
            return sys.modules[module]
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(importlib.import_module, module).result()


class Model:
    """A loaded TFLite model; it is used by one thread at a time."""

    def __init__(self, content: bytes, *, num_threads: int = 1, runtime: str | None = None):
        """Loads a model.

        Args:
          content: the file's bytes, from a checked source (see the module's docstring).
          num_threads: threads an operator may use.
          runtime: one of `RUNTIMES`, or None for the one installed.

        Raises:
          InvalidModel: not a TFLite model.
          RuntimeMissing: see `runtime_name`.

        """
        if content[4:8] != _IDENTIFIER:
            raise InvalidModel(f"a model must be a TFLite file, got {len(content)} bytes of something else")
        package = _loaded(f"{runtime_name(runtime)}.interpreter")
        try:
            self._interpreter = package.Interpreter(model_content=content, num_threads=num_threads)
            # tflite-runtime hands a model to its quicker kernels (XNNPACK) here and nowhere else.
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError):
            raise InvalidModel("a model must be a TFLite file that this runtime can run") from None
        self.signature_names = frozenset(self._interpreter.get_signature_list())

    def signature(self, name: str) -> Signature:
        """One of the model's functions.

        Raises:
          InvalidModel: the model has no such signature, or it needs an operator that the runtime lacks.

        """
        if name not in self.signature_names:
            raise InvalidModel(f"model must have a signature {name}, got {', '.join(sorted(self.signature_names))}")
        try:
            return Signature(self._interpreter, name)
        except (ValueError, RuntimeError, MemoryError):
            raise InvalidModel(f"signature {name} needs what this runtime does not have") from None
