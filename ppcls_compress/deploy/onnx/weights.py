"""The weights of a tidied graph: each layer has its own, and remembers the parameter that it was made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import add_constant, constant

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FOLDING = ("Conv", "Gemm")
"""Those that take a bias and one factor per output channel, so that what follows is folded into them."""


@dataclass(frozen=True)
class Folded:
    """What a weight was made of.

    Attributes:
        parameter: its name in the converted graph.
        factor: what its output channels were multiplied by, float64 [channels].
        original: the parameter's value.
        axis: the output channels' axis.
        bias: float64 [channels]; None for an operator that folds nothing, or whose bias is computed.
    """

    parameter: str
    factor: np.ndarray
    original: np.ndarray
    axis: int
    bias: np.ndarray | None

    def then(self, scale: np.ndarray, shift: np.ndarray) -> Folded:
        """With each channel y of the result mapped to scale * y + shift."""
        return replace(self, factor=self.factor * scale, bias=self.bias * scale + shift)

    def weight_and_bias(self) -> tuple[np.ndarray, np.ndarray]:
        """Rounded to float32 once, however much was folded."""
        shape = [1] * self.original.ndim
        shape[self.axis] = self.factor.size
        weight = (self.original * self.factor.reshape(shape)).astype(np.float32)
        return weight, self.bias.astype(np.float32)


def output_channel_axis(node: ir.Node) -> int:
    """Which axis of a weighted node's weight holds the output channels."""
    return 0 if node.op_type == "Conv" or node.attributes.get_int("transB", 0) else 1


def own(model: ir.Model) -> dict[str, Folded]:
    """Give each layer whose weight is a constant one of its own, and a bias where it takes one.

    Returns:
        What each weight was made of, by its new name.
    """
    found = {}
    for node in [node for node in model.graph if node.op_type in WEIGHTED]:
        original = constant(node.inputs[1])
        if original is None:
            continue
        folded = _unfolded(node, original)
        weight = add_constant(model.graph, f"{folded.parameter}.folded", original)
        node.replace_input_with(1, weight)
        if folded.bias is not None:
            node.resize_inputs(3)
            node.replace_input_with(
                2, add_constant(model.graph, f"{folded.parameter}.bias", folded.bias.astype(np.float32))
            )
        found[weight.name] = folded
    return found


def _unfolded(node: ir.Node, original: np.ndarray) -> Folded:
    axis = output_channel_axis(node)
    channels = original.shape[axis] * (node.attributes.get_int("group", 1) if node.op_type == "ConvTranspose" else 1)
    name, factor = node.inputs[1].name, np.ones(channels)
    return Folded(name, factor, original, axis, _bias(node, channels) if node.op_type in FOLDING else None)


def _bias(node: ir.Node, channels: int) -> np.ndarray | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(channels)
    bias = constant(node.inputs[2])
    fits = bias is not None and bias.size in (1, channels) and bias.shape[-1:] in ((), (bias.size,))
    return np.broadcast_to(bias.reshape(-1).astype(np.float64), (channels,)) if fits else None
