"""What onnxscript's own fusions are used for, and how all of them tell what they left alone."""

from __future__ import annotations

import logging

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from onnxscript.rewriter.rules.common import fuse_hardswish_rules
from support.fusing import fused
from support.onnx_graphs import ops, parse

from ppcls_compress.deploy.onnx.rules.apply import fuse

SIDES = {"x": ("n", 4), "y": ("n", 4)}


@pytest.mark.parametrize("order", ["x, gate", "gate, x"])
def test_a_gate_times_its_input_is_a_hard_swish(order, caplog):
    model = parse(f"gate = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)  y = Mul({order})", **SIDES)
    assert fused(model, list(fuse_hardswish_rules()), caplog) == []
    assert ops(model) == ["HardSwish"]


def test_another_slope_is_no_hard_swish_and_told(caplog):
    model = parse("gate = HardSigmoid <alpha = 0.2, beta = 0.5> (x)  y = Mul(x, gate)", **SIDES)
    (line,) = fused(model, list(fuse_hardswish_rules()), caplog)
    assert line.startswith("HardSwishFusionFromHardSigmoid: y stays as it is: HardSigmoid alpha must be 1/6")
    assert ops(model) == ["HardSigmoid", "Mul"]


def test_only_the_attempt_that_went_furthest_is_told(caplog):
    model = parse("z = Relu(x)  gate = HardSigmoid <alpha = 0.16666667> (z)  y = Mul(x, gate)", **SIDES)
    (line,) = fused(model, list(fuse_hardswish_rules()), caplog)
    assert "bound to two different values" in line
    assert "OpType" not in line


def test_nothing_is_told_and_looked_for_unless_asked(caplog):
    model = parse("y = Mul(x, two)", **SIDES, two=np.float32(2))
    with caplog.at_level(logging.INFO, "ppcls_compress"):
        fuse(model, list(fuse_hardswish_rules()))
    assert caplog.messages == []
