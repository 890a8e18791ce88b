"""The steps of tidying together; `rules` has the tests of each fusion."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx_ir as ir
from support.onnx_graphs import node, ops, parse, random, run, value

from ppcls_compress.deploy.onnx import marks
from ppcls_compress.deploy.onnx.simplify import simplify
from ppcls_compress.slim.quant import InputGrid

NORM = {
    "gamma": np.array([1, -2, 0.5, 0], np.float32),
    "beta": random(4),
    "mean": random(4) + 1,
    "variance": np.array([1, 2, 0.1, 3], np.float32),
}


def simplified(model: ir.Model, x: np.ndarray):
    """The operators left and what each weight was made of; the result must not change."""
    before = run(model, x)
    folded = simplify(model)
    np.testing.assert_allclose(run(model, x), before, rtol=1e-4, atol=1e-5)
    return ops(model), folded


def convolution(after: str, **constants: np.ndarray) -> ir.Model:
    """x [n, 3, 5, 5] -> convolution to 4 channels -> `after`, which ends in y."""
    body = f"conv = Conv <kernel_shape = [3, 3]> (x, w)  {after}"
    return parse(body, x=("n", 3, 5, 5), y=("n", 4, 3, 3), w=random(4, 3, 3, 3), **constants)


def test_all_that_follows_a_convolution_is_folded_into_it_and_rounded_once():
    model = convolution(
        "sum = Add(conv, bias)"
        "  normed = BatchNormalization <epsilon = 0.001> (sum, gamma, beta, mean, variance)"
        "  y = Mul(normed, half)",
        bias=random(4, 1, 1),
        half=np.float32(0.5),
        **NORM,
    )
    kinds, folded = simplified(model, random(2, 3, 5, 5))
    assert kinds == ["Conv"]
    (origin,) = folded.values()
    assert origin.parameter == "w"
    factor = 0.5 * NORM["gamma"].astype(np.float64) / np.sqrt(NORM["variance"].astype(np.float64) + np.float32(1e-3))
    np.testing.assert_allclose(origin.factor, factor, rtol=1e-12)
    expected = (random(4, 3, 3, 3) * origin.factor.reshape(-1, 1, 1, 1)).astype(np.float32)
    np.testing.assert_array_equal(node(model, "Conv").inputs[1].const_value.numpy(), expected)


def test_two_convolutions_that_share_a_weight_get_one_each():
    model = convolution(
        "normed = BatchNormalization(conv, gamma, beta, mean, variance)"
        "  other = Conv <kernel_shape = [3, 3]> (x, w)"
        "  y = Add(normed, other)",
        **NORM,
    )
    kinds, folded = simplified(model, random(2, 3, 5, 5))
    assert kinds == ["Conv", "Conv", "Add"]
    assert [item.parameter for item in folded.values()] == ["w", "w"]


def test_a_classifier_head_becomes_flatten_and_gemm():
    model = parse(
        "mean = GlobalAveragePool(x)"
        "  shape = Shape(mean)"
        "  batch = Slice(shape, zero, one)"
        "  target = Concat <axis = 0> (batch, rest)"
        "  flat = Reshape(mean, target)"
        "  product = MatMul(flat, w)"
        "  bias = Identity(b)"
        "  y = Add(product, bias)",
        x=("n", 3, 4, 4),
        y=("n", 7),
        zero=np.array([0]),
        one=np.array([1]),
        rest=np.array([-1]),
        w=random(3, 7),
        b=random(7),
    )
    kinds, folded = simplified(model, random(2, 3, 4, 4))
    assert kinds == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert [item.parameter for item in folded.values()] == ["w"]


def test_a_gate_after_a_batch_norm_becomes_a_clip_with_its_slope_in_the_weights():
    model = convolution(
        "normed = BatchNormalization <epsilon = 0.001> (conv, gamma, beta, mean, variance)"
        "  y = HardSigmoid <alpha = 0.25, beta = 0.4> (normed)",
        **NORM,
    )
    kinds, folded = simplified(model, random(2, 3, 5, 5))
    assert kinds == ["Conv", "Clip"]
    (origin,) = folded.values()
    np.testing.assert_allclose(origin.factor, 0.25 * NORM["gamma"] / np.sqrt(NORM["variance"] + 1e-3), rtol=1e-6)


def test_what_reads_constants_only_is_computed():
    model = convolution(
        "halved = Mul(half, bias)  shift = Identity(halved)  y = Add(conv, shift)",
        half=np.float32(0.5),
        bias=random(4, 1, 1),
    )
    kinds, folded = simplified(model, random(2, 3, 5, 5))
    assert kinds == ["Conv"]
    (origin,) = folded.values()
    np.testing.assert_array_equal(origin.factor, np.ones(4))


def test_marks_keep_apart_what_they_stand_between_and_hide_no_shape():
    model = parse(
        "conv = Conv <kernel_shape = [3, 3]> (x, w)  marked = Mul(conv, place)  normed = Mul(marked, half)"
        "  flat = Flatten(normed)  again = Mul(flat, place)  y = MatMul(again, m)",
        x=("n", 3, 3, 3),
        y=("n", 5),
        w=random(4, 3, 3, 3),
        place=np.ones(1, np.float32),
        half=np.float32(0.5),
        m=random(4, 5),
    )
    grid = InputGrid(limit=2.0, bits=8, unsigned=True, full_range=False)
    folded = simplify(model, {"place": grid})
    assert ops(model) == ["Conv", "Mark", "Mul", "Flatten", "Mark", "Gemm"]
    assert marks.grid(node(model, "Mark")) is grid
    np.testing.assert_array_equal(folded[node(model, "Conv").inputs[1].name].factor, np.ones(4))


def test_a_transposed_convolution_keeps_its_batch_norm():
    model = parse(
        "conv = ConvTranspose <kernel_shape = [3, 3]> (x, w)"
        "  y = BatchNormalization(conv, gamma, beta, mean, variance)",
        x=("n", 3, 5, 5),
        y=("n", 4, 7, 7),
        w=random(3, 4, 3, 3),
        **NORM,
    )
    kinds, folded = simplified(model, random(2, 3, 5, 5))
    assert kinds == ["ConvTranspose", "BatchNormalization"]
    assert [item.parameter for item in folded.values()] == ["w"]


def test_a_computed_bias_stays_and_so_does_what_follows():
    model = parse(
        "flat = ReduceMean <axes = [2, 3], keepdims = 0> (x)  bias = ReduceMean <axes = [0], keepdims = 0> (flat)"
        "  conv = Conv <kernel_shape = [1, 1]> (x, w, bias)  y = Mul(conv, half)",
        x=("n", 3, 5, 5),
        y=("n", 3, 5, 5),
        w=random(3, 3, 1, 1),
        half=np.float32(0.5),
    )
    kinds, _ = simplified(model, random(2, 3, 5, 5))
    assert kinds == ["ReduceMean", "ReduceMean", "Conv", "Mul"]
    assert value(model, "conv").producer().inputs[2].name == "bias"
