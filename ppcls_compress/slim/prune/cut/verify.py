"""The exactness check: the pruned network must equal the dense one with the removed channels zeroed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError, first_line
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.inputs import Inputs, example, mapped, tensors

TOLERANCE = 1e-4
"""Largest max|a - b| / max|b| that passes as float rounding (5e-7 is usual; a wrong channel gives 1e-2 and more)."""

_SHAKE = 1e-6
"""Relative change of the inputs that tells how much a network amplifies float rounding."""

_AMPLIFIED = 30.0
"""How many times the answer to such a change still passes as rounding: layers round one after the other."""

_CHAOTIC = 1e-2
"""The most that passes as rounding in single precision, for a network that cannot be run in double precision."""

_SMALLER = 4
"""Inputs of a quarter of the height and width are enough, where the network takes them."""

_AMPLITUDES = (1.0, 1e-3)
"""Untrained networks without much normalization overflow on inputs of ordinary size."""


def outputs_of(model: nn.Layer, inputs: list[object]) -> list[np.ndarray]:
    """All floating-point outputs of a forward pass in eval mode, flattened."""
    with inference_mode(model):
        results = tensors(model(*inputs))
    return [result.astype("float32").numpy() for result in results if "float" in str(result.dtype)]


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


def outputs_in_double(model: nn.Layer, inputs: list[object]) -> list[np.ndarray]:
    """As `outputs_of`, of a copy of the network in double precision; what is no float stays as it is."""
    double = copied(model).to(dtype="float64")  # which changes buffers of integers too
    for layer, original in zip(double.sublayers(include_self=True), model.sublayers(include_self=True), strict=True):
        for key, value in original._buffers.items():
            if value is not None and "float" not in str(value.dtype):
                layer._buffers[key] = value
    default = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")  # for what the forward pass makes
    try:
        return outputs_of(double, _floats_mapped(inputs, lambda x: x.astype("float64")))
    finally:
        paddle.set_default_dtype(default)


@dataclass(frozen=True)
class Proof:
    """What the masked dense network computes on fixed random inputs, to hold the pruned one against.

    Attributes:
        inputs: the arguments of `forward`.
        outputs: the floating-point ones, flattened.
        tolerance: largest max|a - b| / max|b| that passes.
        run: computes the outputs. A deep network without trained statistics can amplify rounding to more than
            `TOLERANCE`, which is measured by changing the inputs as little as rounding does; such a one is run in
            double precision, or, where that fails, given what it was measured to need.
    """

    inputs: list[object]
    outputs: list[np.ndarray]
    tolerance: float
    run: Callable[[nn.Layer, list[object]], list[np.ndarray]]

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
                    with _empty_tensors(masked) as empty:
                        outputs = outputs_of(masked, drawn)
                except Exception as error:  # whatever the user's forward raises; many networks take one size only
                    failure = error
                    continue
                if scale > 1 and empty:
                    continue  # smaller than a window somewhere, where nothing could be told apart
                if all(np.isfinite(output).all() for output in outputs):
                    return cls._on(masked, drawn, outputs)
        if failure is not None:
            raise UserError(f"the network's forward pass fails: {first_line(failure)}") from failure
        raise UserError("the network computes infinities or NaN on random inputs; its weights may be broken")

    @classmethod
    def _on(cls, masked: nn.Layer, inputs: list[object], outputs: list[np.ndarray]) -> Proof:
        amplified = _AMPLIFIED * difference(outputs_of(masked, _shaken(inputs)), outputs)
        if amplified <= TOLERANCE:
            return cls(inputs, outputs, TOLERANCE, outputs_of)
        try:
            return cls(inputs, outputs_in_double(masked, inputs), TOLERANCE, outputs_in_double)
        except Exception:  # it cannot be copied, or its forward pass names a precision
            return cls(inputs, outputs, max(TOLERANCE, min(amplified, _CHAOTIC)), outputs_of)

    def fault(self, pruned: nn.Layer) -> str | None:
        """What is wrong with the pruned network; None when it computes the same up to rounding."""
        try:
            found = difference(self.run(pruned, self.inputs), self.outputs)
        except Exception as error:  # whatever the user's forward raises
            return first_line(error)
        return None if found <= self.tolerance else f"outputs differ by {found:.1e} of the largest"

    def wavers(self, network: nn.Layer) -> bool:
        """Whether two runs of one network differ by more than rounding."""
        try:
            return difference(self.run(network, self.inputs), self.run(network, self.inputs)) > self.tolerance
        except Exception:  # whatever the user's forward raises; that is another fault
            return False


@contextmanager
def _empty_tensors(model: nn.Layer) -> Iterator[list[str]]:
    """Collects the names of the layers that give a tensor without elements."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Layer, __: object, outputs: object) -> None:
            if any(value.size == 0 for value in tensors(outputs)):
                found.append(name)

        return hook

    hooks = [layer.register_forward_post_hook(watch(name)) for name, layer in model.named_sublayers()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _shaken(inputs: list[object]) -> list[object]:
    """The inputs with every float a little larger or smaller."""

    def shake(value: paddle.Tensor) -> paddle.Tensor:
        signs = np.random.default_rng(0).choice([-_SHAKE, _SHAKE], value.shape)
        return value * paddle.to_tensor((1 + signs).astype("float32")).astype(value.dtype)

    return _floats_mapped(inputs, shake)


def _floats_mapped(inputs: list[object], change: Callable[[paddle.Tensor], paddle.Tensor]) -> list[object]:
    """The inputs with every floating-point tensor changed."""

    def floats(value: object) -> object:
        floating = isinstance(value, paddle.Tensor) and "float" in str(value.dtype)
        return change(value) if floating else value

    return mapped(inputs, floats)
