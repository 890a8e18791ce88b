from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx_ir as ir
from support.fusing import fused
from support.onnx_graphs import ops, parse

from ppcls_compress.deploy.onnx.rules.flatten import ReshapeToFlatten


def reshaped(*, of: str = "x", end: int = 1, rest: tuple[int, ...] = (-1,), shape=("n", 12), last="") -> ir.Model:
    """Reshaping to a part of a tensor's own shape and the rest."""
    body = (
        f"size = Shape({of})  batch = Slice(size, start, end)  target = Concat <axis = 0> (batch, rest)"
        f"  {'y' if not last else 'flat'} = Reshape(x, target)  {last}"
    )
    constants = {"start": np.array([0]), "end": np.array([end]), "rest": np.array(rest)}
    return parse(body, x=("n", 3, 2, 2), y=shape, **constants)


def test_reshaping_to_the_batch_size_and_the_rest_is_flattening(caplog):
    model = reshaped()
    assert fused(model, [ReshapeToFlatten.rule()], caplog) == []
    assert ops(model) == ["Flatten"]


def test_what_else_reads_the_batch_size_stays(caplog):
    model = reshaped(last="wide = Concat <axis = 0> (batch, rest, end)  y = Reshape(flat, wide)", shape=("n", 12, 1))
    fused(model, [ReshapeToFlatten.rule()], caplog)
    assert ops(model) == ["Shape", "Slice", "Flatten", "Concat", "Reshape"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"end": 2, "shape": ("n", 3, 4)}, "more than the batch size is taken over"),
        ({"rest": (3, 4), "shape": ("n", 3, 4)}, "more than one dimension is left beside the batch size"),
    ],
)
def test_other_reshaping_stays_and_says_why(settings, reason, caplog):
    model = reshaped(**settings)
    assert fused(model, [ReshapeToFlatten.rule()], caplog) == [f"ReshapeToFlatten: y stays as it is: {reason}"]
    assert "Reshape" in ops(model)


def test_the_batch_size_of_another_tensor_is_told_apart(caplog):
    model = parse(
        "z = Relu(x)  size = Shape(z)  batch = Slice(size, start, end)  target = Concat <axis = 0> (batch, rest)"
        "  y = Reshape(x, target)",
        x=("n", 3, 2, 2),
        y=("n", 12),
        start=np.array([0]),
        end=np.array([1]),
        rest=np.array([-1]),
    )
    (line,) = fused(model, [ReshapeToFlatten.rule()], caplog)
    assert line.startswith("ReshapeToFlatten: y stays as it is: Binding failure: x bound to two different values")
    assert "Reshape" in ops(model)
