from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx_ir as ir
from support.fusing import fused
from support.onnx_graphs import ops, parse

from ppcls_compress.deploy.onnx.rules.flatten import ReshapeByBatchToFlatten, ReshapeToFlatten, rules


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
    assert fused(model, rules(), caplog) == []
    assert ops(model) == ["Flatten"]


def test_what_else_reads_the_batch_size_stays(caplog):
    model = reshaped(last="wide = Concat <axis = 0> (batch, rest, end)  y = Reshape(flat, wide)", shape=("n", 12, 1))
    fused(model, [ReshapeByBatchToFlatten.rule()], caplog)
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
    assert fused(model, [ReshapeByBatchToFlatten.rule()], caplog) == [
        f"ReshapeByBatchToFlatten: y stays as it is: {reason}"
    ]
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
    (line,) = fused(model, [ReshapeByBatchToFlatten.rule()], caplog)
    assert line.startswith(
        "ReshapeByBatchToFlatten: y stays as it is: Binding failure: x bound to two different values"
    )
    assert "Reshape" in ops(model)


def constant_sizes(*sizes: int, y=("n", 12)) -> ir.Model:
    return parse("y = Reshape(x, sizes)", x=("n", 3, 2, 2), y=y, sizes=np.array(sizes))


def test_reshaping_that_keeps_the_first_dimension_and_leaves_one_more_is_flattening(caplog):
    model = constant_sizes(0, -1)
    assert fused(model, rules(), caplog) == []
    assert ops(model) == ["Flatten"]


@pytest.mark.parametrize(("sizes", "y"), [((0, 3, -1), ("n", 3, 4)), ((-1, 12), ("n", 12)), ((-1,), ("n",))])
def test_reshaping_to_other_sizes_stays_and_says_why(sizes, y, caplog):
    model = constant_sizes(*sizes, y=y)
    (line,) = fused(model, [ReshapeToFlatten.rule()], caplog)
    assert line == f"ReshapeToFlatten: y stays as it is: it is to {list(sizes)}, not [0, -1]"


def test_reshaping_to_sizes_that_are_computed_is_told(caplog):
    (line,) = fused(reshaped(end=2, shape=("n", 3, 4)), [ReshapeToFlatten.rule()], caplog)
    assert line == "ReshapeToFlatten: y stays as it is: target is computed"
