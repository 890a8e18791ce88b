"""Small ONNX graphs from ONNX's own text, and how to run them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from ppcls_compress.deploy.onnx.graph import OPSET, to_proto

Shape = Sequence[int | str]


def parse(body: str, *, x: Shape, y: Shape, **constants: np.ndarray) -> ir.Model:
    """A graph from `x` to `y`, of these shapes.

    Example:
        >>> parse("z = Relu(x)  y = Add(z, one)", x=("n", 2), y=("n", 2), one=np.float32(1))
    """
    sides = (f"(float[{','.join(map(str, shape))}] {name})" for name, shape in (("x", x), ("y", y)))
    text = f'<ir_version: 8, opset_import: ["" : {OPSET}]> tested {" => ".join(sides)} {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return ir.from_proto(proto)


def ops(model: ir.Model) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in model.graph]


def node(model: ir.Model, op: str) -> ir.Node:
    """The first node of an operator."""
    return next(item for item in model.graph if item.op_type == op)


def value(model: ir.Model, name: str) -> ir.Value:
    """The tensor of a name."""
    return ir.convenience.create_value_mapping(model.graph)[name]


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    """The result by ONNX's reference implementation."""
    return ReferenceEvaluator(to_proto(model)).run(None, {"x": x})[0]


def random(*shape: int) -> np.ndarray:
    """Normally distributed numbers, the same for the same shape."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
