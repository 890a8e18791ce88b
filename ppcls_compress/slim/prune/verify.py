"""The exactness check: the pruned network must equal the dense one with the removed channels zeroed."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.slim.prune.graph import inference_mode

TOLERANCE = 1e-4
"""Largest max|a - b| / max|b| that passes as float rounding (5e-7 is usual; a wrong channel gives 1e-2 and more)."""


def outputs_of(model: nn.Layer, inputs: list[object]) -> list[np.ndarray]:
    """All floating-point outputs of a forward pass in eval mode, flattened."""
    with inference_mode(model):
        results = paddle.utils.flatten(model(*inputs))
    return [r.astype("float32").numpy() for r in results if isinstance(r, paddle.Tensor) and "float" in str(r.dtype)]


def difference(pruned: list[np.ndarray], dense: list[np.ndarray]) -> float:
    """The largest max|a - b| / max|b| over the outputs; infinite when shapes differ or a number is not finite."""
    if [a.shape for a in pruned] != [b.shape for b in dense]:
        return float("inf")
    worst = 0.0
    for a, b in zip(pruned, dense, strict=True):
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        scale = float(np.abs(b).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(a - b).max(initial=0.0)) / scale)
    return worst
