"""Average pooling on integers: a convolution of each channel by itself, all of whose weights are one.

Neither ONNX Runtime nor OpenVINO has an integer kernel for average pooling between two rounded tensors: both turn the
input to float, pool, and round again. Their convolutions have one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from ppcls_compress.deploy.onnx.graph import computed_by, infer_shapes, only_reader
from ppcls_compress.deploy.onnx.qdq import shared
from ppcls_compress.deploy.onnx.rules.apply import fuse

_COMPUTED_ALONG = ("Relu", "Clip")


def pool_by_convolution(model: ir.Model) -> None:
    """Turn average pooling between two pairs into convolutions, in place; the average is the same."""
    if any(node.op_type == "AveragePool" for node in model.graph):
        infer_shapes(model)
        fuse(model, [AveragePoolToConv.rule()])


class AveragePoolToConv(RewriteRuleClassBase):
    """AveragePool(x) -> Conv(x, ones / their number), between two pairs.

    Pooling with windows that reach over the border stays: what they divide by is not the size of the kernel.
    """

    def pattern(self, op: Any, x: Any, kernel_shape: Any) -> Any:
        """Any average pooling of an input that is there; `check` looks at what is around it."""
        return op.AveragePool(x, kernel_shape=kernel_shape, _outputs=["mean"])

    def check(self, context: Any, x: ir.Value, mean: ir.Value, **_: Any) -> MatchResult:
        """The input and the result are rounded, and no window is padded or cut."""
        if computed_by(x) != "DequantizeLinear":
            return MatchResult().fail(f"{x.name} is not rounded", x)
        if not _is_rounded(mean):
            return MatchResult().fail("its result is not rounded", mean)
        if not (_is_known(x) and _is_known(mean)):
            return MatchResult().fail("its shapes are not known", [x, mean])
        if not _has_whole_windows(mean.producer(), x.shape[2:], mean.shape[2:]):
            return MatchResult().fail("a window reaches over the border", mean)
        return MatchResult()

    def rewrite(self, op: Any, x: ir.Value, kernel_shape: ir.Attr, mean: ir.Value) -> ir.Value:
        """One group per channel."""
        channels, kernel = x.shape[1], kernel_shape.as_ints()
        # Ones, and not the largest integers: kernels without VNNI add two products in 16 bits, where 255 * 127 twice
        # would not fit.
        ones = np.ones((channels, 1, *kernel), np.int8)
        scale = np.full(channels, 1 / np.prod(kernel), np.float32)
        constants = [
            op.initializer(ir.tensor(value), f"{mean.name}.average.{name}")
            for name, value in (("int8", ones), ("scale", scale))
        ]
        weight = op.DequantizeLinear(*constants, shared(mean.graph, np.zeros(channels, np.int8)), axis=0)
        return op.Conv(x, weight, kernel_shape=kernel, strides=_strides(mean.producer()), group=channels)


def _is_rounded(value: ir.Value) -> bool:
    reader = only_reader(value)
    if reader is not None and reader.op_type in _COMPUTED_ALONG:
        reader = only_reader(reader.outputs[0])
    return reader is not None and reader.op_type == "QuantizeLinear"


def _is_known(value: ir.Value) -> bool:
    """Whether a tensor has four dimensions, of which only the first is free."""
    return value.shape is not None and len(value.shape) == 4 and all(isinstance(size, int) for size in value.shape[1:])


def _has_whole_windows(node: ir.Node, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether there are as many windows as fit into the image, none of them padded or cut."""
    if any(node.attributes.get_ints("pads", ())):
        return False
    kernel = node.attributes.get_ints("kernel_shape")
    sizes = zip(before, kernel, _strides(node), strict=True)
    return [(size - span) // step + 1 for size, span, step in sizes] == list(after)


def _strides(node: ir.Node) -> list[int]:
    return list(node.attributes.get_ints("strides", [1] * len(node.attributes.get_ints("kernel_shape"))))
