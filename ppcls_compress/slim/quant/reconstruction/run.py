"""Layer by layer in the order of the forward pass: measure, learn the rounding, write it into the weight."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.options.reconstruction import Reconstruction
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.bias import corrects_bias
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.quantizers import fake_quant
from ppcls_compress.slim.quant.quantizers.weights import AbsMaxWeight, ChannelWiseAbsMaxWeight
from ppcls_compress.slim.quant.reconstruction import rounding
from ppcls_compress.slim.quant.reconstruction.moments import Moments, from_rows, has_patches, patches, places, rows

_CONSTANT = 1e-9
"""Of the power of an output, what sums in another order leave of none."""
Shown = Callable[[Sequence[str], str], Iterable[str]]
"""Hands items on one after the other, and tells somebody of it; the text says what is done to them."""


@dataclass(frozen=True)
class Rounded:
    """What was done to a layer.

    Attributes:
        layer: structured name.
        nearest: squared error of its output over the output's power, each weight on the nearest level of the widest
            grid; what the layers before it lose is in it.
        learned: the same with the rounding that was learned.
    """

    layer: str
    nearest: float
    learned: float


def reconstruct(
    model: paddle.nn.Layer,
    reference: paddle.nn.Layer,
    batches: Sequence[Any],
    options: Reconstruction,
    *,
    shown: Shown = lambda items, what: items,
) -> list[Rounded]:
    """Round the weights of a calibrated model so that each layer gives what it gives in the float network.

    Each layer is looked at with all before it rounded, and takes back what they lose as far as its own levels allow.
    Its weight then lies on its grid: rounding it, saving it and exporting it change nothing. Where the layer has a bias
    that calibration corrects, the mean error is taken off it. Transposed convolutions are left as they are.

    Args:
        model: calibrated; weights and biases are changed in place, its modes are as before afterwards.
        reference: a copy of the model with the biases from before calibration; it computes in float from now on.
        batches: inputs of the model.
        options: how.
        shown: to show progress.

    Returns:
        What was done, in the order of the forward pass; nothing of layers whose output is the same whatever they read,
        such as those with weights of zero, for their error is a share of no power.
    """
    found, exact = layers.quant_layers(model), layers.quant_layers(reference)
    _compute_in_float(reference)
    done = []
    with layers.evaluating(model), layers.evaluating(reference), paddle.no_grad():
        calls = _calls(reference, exact, batches[0])
        wanted = [name for name in calls if _is_roundable(found[name])]
        for number, name in enumerate(shown(wanted, "rounding weights")):
            pair = _Pair(name, model, found[name], reference, exact[name], calls[name])
            rounded = _round(pair, pair.moments(batches, options.positions, number), options)
            done += [] if rounded is None else [rounded]
    return done


def _compute_in_float(model: paddle.nn.Layer) -> None:
    outputs = [placement.quantizer_of(layer) for layer in placement.outputs(model).values()]
    for part in (*layers.quant_layers(model).values(), *outputs):
        part.quantizing = False


def _is_roundable(layer: paddle.nn.Layer) -> bool:
    return has_patches(layer) and isinstance(layer._fake_quant_weight, ChannelWiseAbsMaxWeight | AbsMaxWeight)


def _calls(model: paddle.nn.Layer, found: dict[str, paddle.nn.Layer], batch: Any) -> dict[str, int]:
    """How often a forward pass calls each layer, in the order of the first calls."""
    counts: dict[str, int] = {}

    def counter(name: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            counts[name] = counts.get(name, 0) + 1

        return count

    with layers.watched(found, counter):
        describing.call(model, batch)
    return counts


class _Reached(Exception):
    """The layer has been called as often as it is; the rest of the forward pass is of no use."""


@dataclass(frozen=True)
class _Pair:
    """A layer in the quantized network and in the float one."""

    name: str
    model: paddle.nn.Layer
    layer: paddle.nn.Layer
    reference: paddle.nn.Layer
    exact: paddle.nn.Layer
    calls: int

    def moments(self, batches: Sequence[Any], positions: int, number: int) -> Moments:
        """Of the patches that the layer reads, rounded, and of what it gives in the float network, without the bias."""
        weight = rows(self.exact, self.exact.weight.numpy())
        moments = Moments(*weight.shape)
        for index, batch in enumerate(batches):
            wanted = _inputs(self.reference, self.exact, batch, self.calls, lambda x: x)
            read = _inputs(self.model, self.layer, batch, self.calls, self.layer.quantized_input)
            for call, (x, rounded) in enumerate(zip(wanted, read, strict=True)):
                rng = np.random.default_rng((number, index, call))
                where = places(self.exact, x, positions, rng)
                moments.add(patches(self.layer, rounded, where), weight @ patches(self.exact, x, where))
        return moments


def _inputs(
    model: paddle.nn.Layer, layer: paddle.nn.Layer, batch: Any, calls: int, take: Callable[[paddle.Tensor], Any]
) -> list[Any]:
    """What `take` makes of the input of each call."""
    seen: list[Any] = []

    def look(_: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> None:
        x = layer.arguments(inputs, named)[0]
        seen.append(take(x if x.dtype == paddle.float32 else x.astype("float32")))
        if len(seen) == calls:
            raise _Reached

    hook = layer.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with contextlib.suppress(_Reached):
            describing.call(model, batch)
    finally:
        hook.remove()
    return seen


def _round(pair: _Pair, moments: Moments, options: Reconstruction) -> Rounded | None:
    layer, quantizer = pair.layer, pair.layer._fake_quant_weight
    weight = rows(pair.exact, pair.exact.weight.numpy()).astype(np.float64)
    centred = corrects_bias(layer)
    problem = rounding.Problem(
        weight,
        *moments.products(centred=centred),
        levels=fake_quant.levels(quantizer.bits),
        shared=isinstance(quantizer, AbsMaxWeight),
    )
    rounded = rounding.learned(problem, options)
    layer.weight.set_value(np.ascontiguousarray(from_rows(layer, rounded).astype(np.float32)))
    if centred:
        read, given = moments.means()
        shift = given - (rounded @ read[:, :, None])[:, :, 0]
        layer.bias.set_value((pair.exact.bias.numpy() + shift.reshape(-1)).astype(np.float32))
    power = moments.power(centred=centred)
    if power <= _CONSTANT * moments.power(centred=False):
        return None
    nearest = rounding.nearest(weight, problem.widest(), problem.levels)
    return Rounded(pair.name, *(float(problem.error(value) + power) / power for value in (nearest, rounded)))
