from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from support.fusing import fused
from support.onnx_graphs import ops, parse, random

from ppcls_compress.deploy.onnx.rules.linear import MatMulToGemm

UNKNOWN_RANK = "size = Shape(x)  kept = Compress(size, both)  z = Reshape(x, kept)  y = MatMul(z, w)"


def test_a_product_of_two_dimensions_with_a_constant_is_a_linear_layer(caplog):
    model = parse("y = MatMul(x, w)", x=("n", 4), y=("n", 5), w=random(4, 5))
    assert fused(model, [MatMulToGemm.rule()], caplog) == []
    assert ops(model) == ["Gemm"]


@pytest.mark.parametrize(
    ("body", "x", "y", "w", "reason"),
    [
        ("y = MatMul(x, w)", (3, 4), (3, 5), (4, 5), "x has 3 dimensions"),
        ("y = MatMul(x, w)", (4,), ("m", 5), (6, 4, 5), "w has 3 dimensions"),
        ("v = Relu(w)  y = MatMul(x, v)", (4,), (5,), (4, 5), "v is computed"),
        (UNKNOWN_RANK, (4,), (5,), (4, 5), "how many dimensions z has is not known"),
    ],
)
def test_another_product_stays_and_says_why(body, x, y, w, reason, caplog):
    model = parse(body, x=("n", *x), y=("n", *y), w=random(*w), both=np.ones(2, bool))
    assert fused(model, [MatMulToGemm.rule()], caplog) == [f"MatMulToGemm: y stays as it is: {reason}"]
    assert "Gemm" not in ops(model)
