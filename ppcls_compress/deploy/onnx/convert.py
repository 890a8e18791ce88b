"""Paddle network -> float ONNX graph, by paddle2onnx in a process of its own.

paddle2onnx ends its process when it meets an operator that it does not know; in a child process that is one error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import paddle

from ppcls_compress import io
from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.network import Deployed
from ppcls_compress.deploy.onnx import graph as onnx_graph
from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.tracing import save_program

INPUT_NAME = "image"
_CONVERTER = "ppcls_compress.deploy.onnx.converter"


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
        logits = Deployed(model, softmax=False)
        with inference_mode(logits):
            save_program(logits, str(prefix), [spec])
        _convert(prefix)
        return onnx_graph.load(prefix.with_suffix(".onnx"))


def _convert(prefix: Path) -> None:
    try:
        fresh.run_module(_CONVERTER, "convert", prefix, str(onnx_graph.OPSET), folder=prefix.parent)
    except UserError as failure:
        raise UserError(_reason(prefix, failure)) from failure


def _reason(prefix: Path, failure: UserError) -> str:
    try:
        fresh.run_module(_CONVERTER, "explain", prefix, folder=prefix.parent)
    except UserError:
        return f"not converted to ONNX: {failure}"  # the first error is the one that matters
    operators = io.read_json(prefix.with_suffix(".operators"))
    unknown = [name for name, known in operators.items() if not known]
    if unknown:
        return f"the network has no ONNX form: paddle2onnx knows none of {', '.join(unknown)}"
    return f"not converted to ONNX: {failure}; the operators of the network: {', '.join(operators)}"
