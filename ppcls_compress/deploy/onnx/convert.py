"""Paddle network -> float ONNX graph, by paddle2onnx in a process of its own.

paddle2onnx ends its process when it meets an operator that it does not know; in a child process that is one error.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

import paddle

from ppcls_compress.deploy import fresh, verify
from ppcls_compress.deploy.onnx import graph as onnx_graph
from ppcls_compress.errors import MissingDependencyError, UserError
from ppcls_compress.slim.graph import inference_mode

INPUT_NAME = "image"
_CONVERTER = "ppcls_compress.deploy.onnx.converter"


def require(modules: Sequence[str], extra: str) -> None:
    """Check that optional packages are there, without importing them.

    Raises:
        MissingDependencyError: says which extra brings them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise MissingDependencyError(f"{names} not installed; pip install 'ppcls_compress[{extra}]' brings it")


def float_graph(model: paddle.nn.Layer, image_shape: Sequence[int]) -> onnx_graph.Graph:
    """The graph of a float network in evaluation mode, as paddle2onnx writes it, with a free batch size.

    A tensor that is a parameter carries the parameter's name.

    Args:
        model: maps [N, C, H, W] images to [N, classes], or to a list of such whose first counts; not changed.
        image_shape: (C, H, W).

    Raises:
        UserError: the network cannot be converted.
    """
    with tempfile.TemporaryDirectory(prefix="ppcls_compress_") as folder:
        prefix = Path(folder) / "model"
        spec = paddle.static.InputSpec([None, *image_shape], "float32", INPUT_NAME)
        logits = _Logits(model)
        with inference_mode(logits):
            paddle.jit.save(logits, str(prefix), input_spec=[spec])
        _convert(prefix)
        return onnx_graph.load(prefix.with_suffix(".onnx"))


class _Logits(paddle.nn.Layer):
    """The network with one output."""

    def __init__(self, network: paddle.nn.Layer) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, classes]."""
        return verify.first_output(self.network(images))


def _convert(prefix: Path) -> None:
    try:
        fresh.run_module(_CONVERTER, "convert", prefix, str(onnx_graph.OPSET))
    except UserError as failure:
        try:
            fresh.run_module(_CONVERTER, "explain", prefix)
        except UserError as reason:
            raise UserError(f"the network has no ONNX form: {reason}") from failure
        raise UserError(f"the network has no ONNX form: {failure}") from failure
