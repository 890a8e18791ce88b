"""Applying fusions to a graph, which must not change what it computes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule
from support.onnx_graphs import random, run

from ppcls_compress.deploy.onnx.graph import infer_shapes, sweep
from ppcls_compress.deploy.onnx.rules.apply import fuse


def fused(model: ir.Model, rules: Sequence[RewriteRule], caplog) -> list[str]:
    """Apply fusions; returns what they say about places that they left alone.

    Args:
        model: its input `x` has a free first dimension; changed in place.
        rules: the fusions.
        caplog: pytest's.
    """
    infer_shapes(model)
    x = random(2, *model.graph.inputs[0].shape[1:])
    before = run(model, x)
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "ppcls_compress"):
        fuse(model, rules)
    sweep(model)
    np.testing.assert_allclose(run(model, x), before, rtol=1e-4, atol=1e-5)
    return caplog.messages
