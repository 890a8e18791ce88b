"""Running an ONNX file on the CPU: ONNX Runtime or OpenVINO, and which of their kernels compute with integers.

OpenVINO is told to compute in float32 what is not in integers. By default it takes bfloat16 where the processor has it,
which is faster for float networks, and is not what was trained.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ppcls_compress.deploy.extras import require
from ppcls_compress.errors import UserError
from ppcls_compress.registry import Registry

_ERRORS_ONLY = 3


class Session(Protocol):
    """A loaded network."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""


SESSIONS: Registry[Callable[[Path, int], Session]] = Registry("ONNX runtime")


def load(path: str | Path, runtime: str, *, threads: int) -> Session:
    """Load a file into a runtime, `onnxruntime` or `openvino`.

    Raises:
        MissingDependencyError: the runtime is not installed; says which extra brings it.
        UserError: there is no such file or runtime, or the runtime refuses the file.
    """
    make = SESSIONS.get(runtime)
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    require([runtime], "openvino" if runtime == "openvino" else "onnx")
    try:
        return make(Path(path), threads)
    except RuntimeError as error:
        raise UserError(f"{path}: {runtime} cannot load it: {str(error).splitlines()[0]}") from error


@SESSIONS.register("onnxruntime")
class OnnxRuntimeSession:
    """A network in ONNX Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf

        try:
            self._session = _onnxruntime_session(path, threads)
        except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
            raise RuntimeError(str(error)) from error
        self._input = self._session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""
        return self._session.run(None, {self._input: images})[0]


@SESSIONS.register("openvino")
class OpenVinoSession:
    """A network in OpenVINO."""

    def __init__(self, path: Path, threads: int) -> None:
        self._compiled = _openvino_compiled(path, threads)
        self._request = self._compiled.create_infer_request()

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""
        return self._request.infer({0: images})[0].copy()


def integer_share(path: str | Path, runtime: str) -> dict[str, tuple[int, int]]:
    """How many of a runtime's kernels compute with integers, and how many there are, by kind of layer.

    Layers with weights only: `{"Convolution": (53, 53), "FullyConnected": (1, 1)}`.

    Raises:
        MissingDependencyError: the runtime is not installed.
        UserError: no such runtime.
    """
    if runtime not in _KERNELS:
        SESSIONS.get(runtime)
    require([runtime], "openvino" if runtime == "openvino" else "onnx")
    total, integer = Counter(), Counter()
    for kind, whole in _KERNELS[runtime](Path(path)):
        total[kind] += 1
        integer[kind] += whole
    return {kind: (integer[kind], count) for kind, count in sorted(total.items())}


def _onnxruntime_session(path: Path, threads: int, optimized: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _openvino_compiled(path: Path, threads: int) -> Any:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(str(path), "CPU", settings)


_ORT_WEIGHTED = {
    "Conv": ("Convolution", False),
    "FusedConv": ("Convolution", False),
    "QLinearConv": ("Convolution", True),
    "ConvTranspose": ("ConvolutionBackpropData", False),
    "Gemm": ("FullyConnected", False),
    "FusedGemm": ("FullyConnected", False),
    "QGemm": ("FullyConnected", True),
    "MatMul": ("FullyConnected", False),
    "MatMulIntegerToFloat": ("FullyConnected", True),
    "QLinearMatMul": ("FullyConnected", True),
}
_OPENVINO_WEIGHTED = {
    "Convolution": "Convolution",
    "GroupConvolution": "Convolution",
    "Deconvolution": "ConvolutionBackpropData",
    "FullyConnected": "FullyConnected",
    "FullyConnectedQuantized": "FullyConnected",
    "FullyConnectedQuantizedLegacy": "FullyConnected",
    "MatMul": "FullyConnected",
}


def _onnxruntime_kernels(path: Path) -> list[tuple[str, bool]]:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        _onnxruntime_session(path, 1, optimized)
        nodes = onnx.load(str(optimized)).graph.node
    return [_ORT_WEIGHTED[node.op_type] for node in nodes if node.op_type in _ORT_WEIGHTED]


def _openvino_kernels(path: Path) -> list[tuple[str, bool]]:
    found = []
    for node in _openvino_compiled(path, 1).get_runtime_model().get_ops():
        facts = node.get_rt_info()
        kind = _OPENVINO_WEIGHTED.get(str(facts["layerType"].get()))
        if kind is not None:
            found.append((kind, str(facts["primitiveType"].get()).lower().endswith(("i8", "u8"))))
    return found


_KERNELS: dict[str, Callable[[Path], list[tuple[str, bool]]]] = {
    "onnxruntime": _onnxruntime_kernels,
    "openvino": _openvino_kernels,
}
