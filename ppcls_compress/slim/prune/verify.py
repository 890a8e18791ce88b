"""The exactness check: the pruned network must equal the dense one with the removed channels zeroed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Inputs, example, first_line, inference_mode

TOLERANCE = 1e-4
"""Largest max|a - b| / max|b| that passes as float rounding (5e-7 is usual; a wrong channel gives 1e-2 and more)."""

_SHAKE = 1e-6
"""Relative change of the inputs that tells how much a network amplifies float rounding."""

_AMPLIFIED = 30.0
"""How many times the answer to such a change still passes as rounding: layers round one after the other."""

_CHAOTIC = 1e-2
"""A network that answers more than this to rounding proves nothing; no rounding above it passes."""

_SMALLER = 4
"""Inputs of a quarter of the height and width are enough, where the network takes them."""

_AMPLITUDES = (1.0, 1e-3)
"""Untrained networks without much normalization overflow on inputs of ordinary size."""


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


@dataclass(frozen=True)
class Proof:
    """What the masked dense network computes on fixed random inputs, to hold the pruned one against."""

    inputs: list[object]
    outputs: list[np.ndarray]

    @classmethod
    def of(cls, masked: nn.Layer, inputs: Inputs) -> Proof:
        """Runs the masked network.

        Raises:
            UserError: its forward pass fails, or gives infinities at full size.
        """
        failure = None
        for amplitude in _AMPLITUDES:
            for scale in (_SMALLER, 1):
                drawn = example(inputs, scale=scale, amplitude=amplitude)
                try:
                    outputs = outputs_of(masked, drawn)
                except Exception as error:  # whatever the user's forward raises; many networks take one size only
                    failure = error
                    continue
                if all(np.isfinite(output).all() for output in outputs):
                    return cls(drawn, outputs)
        if failure is not None:
            raise UserError(f"the network's forward pass fails: {first_line(failure)}") from failure
        raise UserError("the network computes infinities or NaN on random inputs; its weights may be broken")

    def fault(self, pruned: nn.Layer) -> str | None:
        """What is wrong with the pruned network; None when it computes the same up to rounding.

        A deep network without trained statistics can amplify rounding to more than `TOLERANCE`; then what passes is
        measured by changing the inputs as little as rounding does.
        """
        try:
            outputs = outputs_of(pruned, self.inputs)
            found = difference(outputs, self.outputs)
            if found <= TOLERANCE:
                return None
            amplified = _AMPLIFIED * difference(outputs_of(pruned, _shaken(self.inputs)), outputs)
        except Exception as error:  # whatever the user's forward raises
            return first_line(error)
        if found <= min(amplified, _CHAOTIC):
            return None
        return f"outputs differ by {found:.1e} of the largest"


def _shaken(inputs: list[object]) -> list[object]:
    """The inputs with every float a little larger or smaller."""

    def shake(value: object) -> object:
        if not (isinstance(value, paddle.Tensor) and "float" in str(value.dtype)):
            return value
        signs = np.random.default_rng(0).choice([-_SHAKE, _SHAKE], value.shape)
        return value * paddle.to_tensor((1 + signs).astype("float32")).astype(value.dtype)

    return paddle.utils.map_structure(shake, inputs)
