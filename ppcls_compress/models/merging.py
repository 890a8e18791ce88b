"""Branches that are trained apart and deployed as the one convolution that they add up to (Ding et al. 2021, "RepVGG").

A layer with such branches has `re_parameterize()`, which merges them in place, and `is_repped`, which says whether that
was done; both names are PaddleClas'.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from paddle import nn

Kernel = tuple[np.ndarray, np.ndarray]
"""Weight [out, in / groups, h, w] and bias [out] of a convolution."""


def folded(conv: nn.Conv2D, norm: nn.BatchNorm2D) -> Kernel:
    """The convolution that equals `conv` and then `norm` with its running statistics."""
    weight, bias = conv.weight.numpy().astype("float64"), 0.0 if conv.bias is None else conv.bias.numpy()
    scale, shift = scale_and_shift(norm)
    return weight * scale[:, None, None, None], bias * scale + shift


def scale_and_shift(norm: nn.BatchNorm2D) -> tuple[np.ndarray, np.ndarray]:
    """`norm` with its running statistics, as a factor and a summand for each channel."""
    mean, variance, weight, bias = (
        tensor.numpy().astype("float64") for tensor in (norm._mean, norm._variance, norm.weight, norm.bias)
    )
    scale = weight / np.sqrt(variance + norm._epsilon)
    return scale, bias - mean * scale


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
