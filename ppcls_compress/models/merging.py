"""Convolutions that equal others with their batch norms, added up; what `slim.branches` merges is made of these."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from paddle import nn

from ppcls_compress.slim.quant.fold import affine

Kernel = tuple[np.ndarray, np.ndarray]
"""Weight [out, in / groups, h, w] and bias [out] of a convolution."""


def folded(conv: nn.Conv2D, norm: nn.BatchNorm2D) -> Kernel:
    """The convolution that equals `conv` without bias and then `norm` with its running statistics."""
    factor, shift = affine(norm)
    return conv.weight.numpy().astype("float64") * factor[:, None, None, None], shift


def added(kernels: Iterable[Kernel], size: int) -> Kernel:
    """The convolution with a kernel of `size` that equals the sum of some with smaller or equal odd kernels."""
    weight, bias = 0.0, 0.0
    for smaller, more in kernels:
        margin = (size - smaller.shape[-1]) // 2
        weight = weight + np.pad(smaller, [(0, 0), (0, 0), (margin, margin), (margin, margin)])
        bias = bias + more
    return weight, bias


def convolution(kernel: Kernel, like: nn.Conv2D) -> nn.Conv2D:
    """A convolution with the values of `kernel`, and the stride, padding and groups of `like`."""
    weight, bias = (values.astype("float32") for values in kernel)
    conv = nn.Conv2D(
        weight.shape[1] * like._groups,
        weight.shape[0],
        weight.shape[2:],
        stride=like._stride,
        padding=like._padding,
        groups=like._groups,
    )
    conv.weight.set_value(weight)
    conv.bias.set_value(bias)
    return conv
