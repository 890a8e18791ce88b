"""What maps each channel by itself goes into weight and bias of the convolution or linear layer before it.

Every fusion starts from the parameter and all that was folded before, in float64, so that a weight is rounded once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from ppcls_compress.deploy.onnx.graph import constant
from ppcls_compress.deploy.onnx.weights import FOLDING, Folded

_DEFAULT_EPSILON = 1e-5
_HARD_SIGMOID = (0.2, 0.5)  # of an operator that does not say
_SCALES = ("alpha", "beta")

Line = tuple[np.ndarray, np.ndarray]
"""Scale and shift per channel, float64."""


def rules(folded: MutableMapping[str, Folded]) -> list[RewriteRule]:
    """All fusions of this file, for each kind of layer.

    Args:
        folded: what each weight was made of, by its name; kept up to date.
    """
    classes = (BatchNormIntoLayer, AddIntoLayer, MulIntoLayer, HardSigmoidIntoLayer)
    return [rule.rule(kind, folded) for rule in classes for kind in FOLDING]


class _IntoLayer(RewriteRuleClassBase, ABC):
    """Operator(layer(x)) -> layer(x) with another weight and bias."""

    def __init__(self, kind: str, folded: MutableMapping[str, Folded]) -> None:
        super().__init__()
        self._kind, self._folded = kind, folded

    def layer(self, op: Any, x: Any, weight: Any) -> Any:
        """The pattern of the layer; its result is bound as `layer`."""
        return getattr(op, self._kind)(x, weight, _allow_other_inputs=True, _outputs=["layer"])

    @abstractmethod
    def refusal(self, layer: ir.Value, **operands: ir.Value) -> str | None:
        """Why the operator does not map each channel by itself; None if it does."""

    @abstractmethod
    def line(self, layer: ir.Value, **operands: ir.Value) -> Line:
        """What the operator maps each channel by."""

    def check(self, context: Any, layer: ir.Value, weight: ir.Value, **operands: ir.Value) -> MatchResult:
        """The layer can take it, and the operator is such a map."""
        reason = self._layer_refusal(layer, weight) or self.refusal(layer, **operands)
        return MatchResult() if reason is None else MatchResult().fail(reason, layer)

    def _layer_refusal(self, layer: ir.Value, weight: ir.Value) -> str | None:
        folded, attributes = self._folded.get(weight.name), layer.producer().attributes
        if folded is None:
            return f"the weight {weight.name} is computed"
        if folded.bias is None:
            return f"the bias of {layer.name} is computed"
        if any(attributes.get_float(name, 1.0) != 1.0 for name in _SCALES) or attributes.get_int("transA", 0):
            return f"{layer.name} scales or transposes what it adds up"
        return None

    def rewrite(self, op: Any, x: ir.Value, weight: ir.Value, layer: ir.Value, **operands: ir.Value) -> ir.Value:
        """The layer alone."""
        folded = self._folded[weight.name].then(*self.line(layer, **operands))
        self._folded[weight.name] = folded
        node = layer.producer()
        arrays = zip(node.inputs[1:], folded.weight_and_bias(), strict=True)
        constants = [op.initializer(ir.tensor(array, name=old.name), old.name) for old, array in arrays]
        return getattr(op, self._kind)(x, *constants, **node.attributes)


class BatchNormIntoLayer(_IntoLayer):
    """BatchNormalization(layer(x)) -> layer(x)."""

    def pattern(self, op: Any, x: Any, weight: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        """Of one result: the running statistics are not written."""
        layer = self.layer(op, x, weight)
        return op.BatchNormalization(layer, gamma, beta, mean, variance, _outputs=["normed"])

    def refusal(self, layer: ir.Value, **operands: ir.Value) -> str | None:
        """Statistics and parameters must be constants."""
        computed = [name for name in ("gamma", "beta", "mean", "variance") if constant(operands[name]) is None]
        return f"{' and '.join(computed)} of the batch norm computed" if computed else None

    def line(self, layer: ir.Value, **operands: ir.Value) -> Line:
        """In evaluation mode."""
        names = ("gamma", "beta", "mean", "variance")
        scale, shift, mean, variance = (constant(operands[name]).astype(np.float64) for name in names)
        epsilon = operands["normed"].producer().attributes.get_float("epsilon", _DEFAULT_EPSILON)
        factor = scale / np.sqrt(variance + epsilon)
        return factor, shift - mean * factor


class AddIntoLayer(_IntoLayer):
    """layer(x) + one constant per channel -> layer(x)."""

    def pattern(self, op: Any, x: Any, weight: Any, other: Any) -> Any:
        """In either order."""
        return op.Add(self.layer(op, x, weight), other)

    def refusal(self, layer: ir.Value, other: ir.Value, **_: ir.Value) -> str | None:
        """One number per channel, or one for all."""
        return _not_per_channel(other, self._kind, self._channels(layer))

    def line(self, layer: ir.Value, other: ir.Value, **_: ir.Value) -> Line:
        """A shift."""
        channels = self._channels(layer)
        return np.ones(channels), _per_channel(other, channels)

    def _channels(self, layer: ir.Value) -> int:
        return self._folded[layer.producer().inputs[1].name].factor.size


class MulIntoLayer(AddIntoLayer):
    """layer(x) * one constant per channel -> layer(x)."""

    def pattern(self, op: Any, x: Any, weight: Any, other: Any) -> Any:
        """In either order."""
        return op.Mul(self.layer(op, x, weight), other)

    def line(self, layer: ir.Value, other: ir.Value, **_: ir.Value) -> Line:
        """A scale."""
        channels = self._channels(layer)
        return _per_channel(other, channels), np.zeros(channels)


class HardSigmoidIntoLayer(_IntoLayer):
    """HardSigmoid(layer(x)) -> Clip(layer(x), 0, 1).

    Slope and offset become part of the layer, and runtimes compute the clipping with it; a HardSigmoid by itself runs
    on slow kernels, in a memory layout of its own.
    """

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        """Right after the layer."""
        return op.HardSigmoid(self.layer(op, x, weight), _outputs=["gate"])

    def refusal(self, layer: ir.Value, **_: ir.Value) -> str | None:
        """It always is such a map, but for its bounds."""
        return None

    def line(self, layer: ir.Value, gate: ir.Value, **_: ir.Value) -> Line:
        """Slope and offset."""
        channels = self._folded[layer.producer().inputs[1].name].factor.size
        slope, offset = slope_and_offset(gate.producer())
        return np.full(channels, slope), np.full(channels, offset)

    def rewrite(self, op: Any, gate: ir.Value, **operands: ir.Value) -> ir.Value:
        """The layer, and the bounds."""
        line = super().rewrite(op, gate=gate, **operands)
        bounds = [
            op.initializer(ir.tensor(np.float32(value)), f"{gate.name}.{name}")
            for name, value in (("zero", 0), ("one", 1))
        ]
        return op.Clip(line, *bounds)


def slope_and_offset(node: ir.Node) -> tuple[float, float]:
    """a and b of HardSigmoid(x) = clip(a x + b, 0, 1)."""
    slope, offset = _HARD_SIGMOID
    return node.attributes.get_float("alpha", slope), node.attributes.get_float("beta", offset)


def _not_per_channel(value: ir.Value, kind: str, channels: int) -> str | None:
    """Why an operand does not broadcast along the channels of a layer's result; None if it does."""
    array = constant(value)
    if array is None:
        return f"{value.name} is computed"
    shape = (channels, 1, 1) if kind == "Conv" else (channels,)
    if array.size == 1 or (array.size == channels and array.shape[-len(shape) :] == shape):
        return None
    return f"{value.name} of shape {list(array.shape)} is not one number for each of {channels} channels"


def _per_channel(value: ir.Value, channels: int) -> np.ndarray:
    return np.broadcast_to(constant(value).reshape(-1).astype(np.float64), (channels,))
