"""Running an ONNX file on the CPU: ONNX Runtime or OpenVINO, and which of their kernels compute with integers.

OpenVINO is told to compute in float32 what is not in integers, unless a file was exported for bfloat16. By itself it
takes that wherever the processor has it, which is faster for float networks, and is not what was trained.
"""

from __future__ import annotations

import functools
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ppcls_compress.deploy.extras import require
from ppcls_compress.errors import UserError
from ppcls_compress.registry import Registry

_FATAL_ONLY = 4  # errors are raised
_MAKING_CORE = threading.Lock()


class Session(Protocol):
    """A loaded network."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""


FLOAT32, BFLOAT16 = "f32", "bf16"
"""How OpenVINO calls the precision of what is not in integers."""
SESSIONS: Registry[Callable[[Path, int, str | None], Session]] = Registry("ONNX runtime")


def load(path: str | Path, runtime: str, *, threads: int, precision: str | None = FLOAT32) -> Session:
    """Load a file into a runtime, `onnxruntime` or `openvino`.

    Args:
        path: the file.
        runtime: its name.
        threads: for the arithmetic.
        precision: of all that is not in integers, `FLOAT32` or `BFLOAT16`; None lets OpenVINO choose. ONNX Runtime has
            no kernels but those of float32 for processors, and takes these.

    Raises:
        MissingDependencyError: the runtime is not installed; says which extra brings it.
        UserError: there is no such file or runtime, or the runtime refuses the file.
    """
    make = SESSIONS.get(runtime)
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    require([runtime], "openvino" if runtime == "openvino" else "onnx")
    try:
        return make(Path(path), threads, precision)
    except RuntimeError as error:
        raise UserError(f"{path}: {runtime} cannot load it: {str(error).splitlines()[0]}") from error


@SESSIONS.register("onnxruntime")
class OnnxRuntimeSession:
    """A network in ONNX Runtime."""

    def __init__(self, path: Path, threads: int, precision: str | None = FLOAT32) -> None:
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
    """A network in OpenVINO.

    It is compiled for the first few batch sizes that it meets, each of which takes about a second: with a free batch
    size, which serves all others, OpenVINO looks at every layer's shapes again in every run, and is up to a sixth
    slower.

    Attributes:
        compiled: the networks by shape of their input; None for a free batch size.
    """

    _SIZES = 3

    def __init__(self, path: Path, threads: int, precision: str | None = FLOAT32) -> None:
        _openvino_core().read_model(str(path))  # tells what is wrong with the file now, not in the first run
        self._compile = functools.partial(_openvino_compiled, path, threads, precision)
        self.compiled: dict[tuple[int, ...] | None, Any] = {}

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""
        own = images.shape in self.compiled or len(self.compiled) < self._SIZES
        shape = images.shape if own else None
        if shape not in self.compiled:
            self.compiled[shape] = self._compile(shape).create_infer_request()
        return self.compiled[shape].infer({0: images}, share_inputs=True)[0].copy()


class OneByOne:
    """Images one after the other, for a file whose batch is one image."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""
        return np.concatenate([self._session.run(images[place : place + 1]) for place in range(len(images))])


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
    options.log_severity_level = _FATAL_ONLY
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _openvino_core() -> Any:
    """One for the process and all its threads, as long as it lives.

    A core installs a stack for signal handlers in the thread that makes it, and at its end puts back the one it found.
    Of two that end in the order in which they began, the second puts back the freed stack of the first, and the next
    signal with a handler ends the process: Ctrl-C, or a child's end once a Paddle data loader had workers.
    """
    with _MAKING_CORE:
        return _made_core()


@functools.cache
def _made_core() -> Any:
    import openvino

    return openvino.Core()


def _openvino_compiled(
    path: Path, threads: int, precision: str | None = FLOAT32, shape: tuple[int, ...] | None = None
) -> Any:
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    network = _openvino_core().read_model(str(path))
    if shape is not None:
        network.reshape(list(shape))
    return _openvino_core().compile_model(network, "CPU", settings)


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
