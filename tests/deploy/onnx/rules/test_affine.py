from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx_ir as ir
from support.fusing import fused
from support.onnx_graphs import node, ops, parse, random

from ppcls_compress.deploy.onnx.rules import affine
from ppcls_compress.deploy.onnx.weights import own

NORM = "BatchNormalization <epsilon = 0.001>"
STATISTICS = {
    "gamma": np.array([1, -2, 0.5, 0], np.float32),
    "beta": random(4),
    "mean": random(4) + 1,
    "variance": np.array([1, 2, 0.1, 3], np.float32),
}
LAYERS = {
    "Conv": {"call": "Conv <kernel_shape = [3, 3]>", "x": ("n", 3, 5, 5), "y": ("n", 4, 3, 3), "w": random(4, 3, 3, 3)},
    "Gemm": {"call": "Gemm", "x": ("n", 3), "y": ("n", 4), "w": random(3, 4)},
}


def layer(kind: str, after: str, *, call: str | None = None, inputs: str = "x, w", **constants: np.ndarray) -> ir.Model:
    """A layer of 4 output channels, and `after`, which ends in y."""
    sides = dict(LAYERS[kind])
    ours = sides.pop("call")
    return parse(f"l = {call or ours} ({inputs})  {after}", **sides, **constants)


def fold(model: ir.Model, caplog) -> list[str]:
    return fused(model, affine.rules(own(model)), caplog)


def per_channel(kind: str) -> np.ndarray:
    return random(4, 1, 1) if kind == "Conv" else random(4)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("after", ["Add(l, c)", "Add(c, l)", "Mul(l, c)", "Mul(c, l)", "Add(l, one)", "Mul(l, one)"])
def test_a_constant_per_channel_goes_into_the_layer(kind, after, caplog):
    model = layer(kind, f"y = {after}", c=per_channel(kind), one=np.float32(0.7))
    assert fold(model, caplog) == []
    assert ops(model) == [kind]


@pytest.mark.parametrize("kind", LAYERS)
def test_a_batch_norm_goes_into_the_layer(kind, caplog):
    model = layer(kind, f"y = {NORM} (l, gamma, beta, mean, variance)", **STATISTICS)
    assert fold(model, caplog) == []
    assert ops(model) == [kind]


@pytest.mark.parametrize("kind", LAYERS)
def test_a_gate_becomes_a_clip_whose_slope_is_in_the_layer(kind, caplog):
    model = layer(kind, "y = HardSigmoid <alpha = 0.25, beta = 0.4> (l)")
    assert fold(model, caplog) == []
    assert ops(model) == [kind, "Clip"]
    assert [float(bound.const_value.numpy()) for bound in node(model, "Clip").inputs[1:]] == [0, 1]


def test_a_bias_that_was_there_is_kept(caplog):
    model = layer("Conv", "y = Mul(l, c)", inputs="x, w, b", b=random(4), c=per_channel("Conv"))
    fold(model, caplog)
    np.testing.assert_allclose(
        node(model, "Conv").inputs[2].const_value.numpy(), random(4) * random(4, 1, 1).reshape(-1), rtol=1e-6
    )


def test_attributes_of_the_layer_are_kept(caplog):
    strided = "Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>"
    model = layer("Conv", "y = Mul(l, c)", call=strided, c=per_channel("Conv"))
    assert fold(model, caplog) == []
    assert list(node(model, "Conv").attributes.get_ints("strides")) == [2, 2]


NO_FOLD = [
    ("Conv", "y = Add(l, map)", "AddIntoLayer", "map of shape [1, 4, 3, 3] is not one number for each of 4 channels"),
    ("Conv", "y = Add(l, row)", "AddIntoLayer", "row of shape [3] is not one number for each of 4 channels"),
    ("Conv", "y = Mul(l, row)", "MulIntoLayer", "row of shape [3] is not one number for each of 4 channels"),
    ("Conv", "z = Relu(c)  y = Mul(l, z)", "MulIntoLayer", "z is computed"),
    (
        "Gemm",
        "s = Abs(variance)  y = BatchNormalization(l, gamma, beta, mean, s)",
        "BatchNormIntoLayer",
        "variance of the batch norm computed",
    ),
    ("Conv", "z = Relu(l)  y = HardSigmoid(z)", "HardSigmoidIntoLayer", "OpType mismatch: expected Conv, got Relu"),
    ("Conv", "z = HardSigmoid(l)  y = Add(l, z)", "HardSigmoidIntoLayer", "Matched nodes have other uses"),
    (
        "Conv",
        f"z = {NORM} (l, gamma, beta, mean, variance)  y = Add(l, z)",
        "BatchNormIntoLayer",
        "Matched nodes have other uses",
    ),
]


@pytest.mark.parametrize(("kind", "after", "rule", "reason"), NO_FOLD)
def test_what_does_not_map_each_channel_by_itself_stays_and_says_why(kind, after, rule, reason, caplog):
    constants = {"map": random(1, 4, 3, 3), "row": random(3), "c": per_channel(kind), **STATISTICS}
    model = layer(kind, after, **constants)
    before = len(ops(model))
    lines = fold(model, caplog)
    assert len(ops(model)) == before
    assert any(line.startswith(f"{rule}: ") and f"stays as it is: {reason}" in line for line in lines)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("Conv", "v = Relu(w)  l = Conv(x, v)", "the weight v is computed"),
        ("Conv", "v = Relu(b)  l = Conv(x, w, v)", "the bias of l is computed"),
        ("Gemm", "l = Gemm <alpha = 0.5> (x, w)", "l scales or transposes what it adds up"),
    ],
)
def test_a_layer_that_takes_nothing_says_why(kind, body, reason, caplog):
    sides = {name: item for name, item in LAYERS[kind].items() if name != "call"}
    model = parse(f"{body}  y = Mul(l, c)", **sides, b=random(4), c=per_channel(kind))
    assert fold(model, caplog) == [f"MulIntoLayer: y stays as it is: {reason}"]
    assert ops(model)[-2:] == [kind, "Mul"]
