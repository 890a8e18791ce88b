"""What each layer's weight loses on each number of bits, and the bits that a budget gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.options.bits import CHOICES, FLOAT, BitBudget
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.analysis import Rounding
from ppcls_compress.slim.quant.budget.solver import solve
from ppcls_compress.slim.quant.building import CustomParts
from ppcls_compress.slim.quant.prepare import prepare
from ppcls_compress.slim.quant.quantizers import fake_quant

Shown = Callable[[Sequence[str], str], Iterable[str]]


@dataclass(frozen=True)
class Loss:
    """What a layer's weight costs and loses on each of `CHOICES`.

    Attributes:
        layer: structured name.
        weights: how many numbers it has.
        multiply_adds: for one image.
        losses: mean squared change of the network's scores over their variance, when it alone is rounded; 0 in float.
    """

    layer: str
    weights: int
    multiply_adds: int
    losses: tuple[float, ...]


def choose(
    model: paddle.nn.Layer,
    options: QuantOptions,
    batches: Sequence[Any],
    *,
    inputs: Sequence[Any] | None = None,
    custom: CustomParts | None = None,
    shown: Shown = lambda items, what: items,
) -> dict[str, int]:
    """The bits of each layer's weight, `FLOAT` for one that is left out, with the least loss that the budget allows.

    A layer loses what the network's scores change when its weight alone is rounded; what several lose is taken for the
    sum. Layers that `skip` or `per_layer` name are left as these say, and are not counted.

    Args:
        model: float; not changed.
        options: with `bits`.
        batches: inputs of the model; a few.
        inputs: as `prepare` takes them; and `custom`.
        shown: to show the progress.

    Raises:
        UserError: nothing is left to choose, or the budget is below what the fewest bits take.
    """
    budget = options.bits
    measured = measure(copied(model), replace(options, bits=None), batches, inputs=inputs, custom=custom, shown=shown)
    if not measured:
        raise UserError("bits: per_layer and skip name all layers, so there is nothing to choose")
    costs = [_costs(item, budget, options.activation_bits) for item in measured]
    whole = sum(row[-1] for row in costs)
    found = solve([item.losses for item in measured], costs, int(budget.share * whole))
    if found is None:
        least = sum(row[0] for row in costs) / whole
        raise UserError(f"bits.{budget.key}: {budget.share} is less than {CHOICES[0]} bits take, {least:.3f}")
    return {item.layer: CHOICES[index] for item, index in zip(measured, found, strict=True)}


def _costs(item: Loss, budget: BitBudget, activation_bits: int) -> list[int]:
    if budget.key == "target_bytes":
        return [item.weights * bits for bits in CHOICES]
    pairs = [(bits, FLOAT if bits == FLOAT else activation_bits) for bits in CHOICES]
    return [item.multiply_adds * weight * activation for weight, activation in pairs]


def measure(
    model: paddle.nn.Layer,
    options: QuantOptions,
    batches: Sequence[Any],
    *,
    inputs: Sequence[Any] | None = None,
    custom: CustomParts | None = None,
    shown: Shown = lambda items, what: items,
) -> list[Loss]:
    """What each weight loses on each number of bits, but for those whose bits `per_layer` sets; changes the model."""
    model, record = prepare(model, options, inputs=inputs, custom=custom)
    found = layers.quant_layers(model)
    named = {name for name, layer in found.items() if layer._fake_quant_weight.bits != options.weight_bits}
    with layers.evaluating(model), paddle.no_grad(), Rounding(model) as flags:
        flags.round_only(())
        places = _places(model, found, batches[0])
        wanted = [name for name in record["quantized"] if name not in named and name in places]
        exact = _scores(model, batches)
        return [
            _loss(name, found[name], places[name], model, batches, exact) for name in shown(wanted, "weighing bits")
        ]


def _loss(
    name: str,
    layer: paddle.nn.Layer,
    places: int,
    model: paddle.nn.Layer,
    batches: Sequence[Any],
    exact: np.ndarray,
) -> Loss:
    weight, losses = layer.weight.clone(), []
    for bits in CHOICES[:-1]:
        layer.weight.set_value(fake_quant.round_weight(weight, bits, layer.channel_axis)[0])
        change = np.square(_scores(model, batches) - exact).mean()
        losses.append(float(change / max(exact.var(), 1e-30)))
    layer.weight.set_value(weight)
    return Loss(name, weight.size, weight.size * places, (*losses, 0.0))


def _places(model: paddle.nn.Layer, found: Mapping[str, paddle.nn.Layer], batch: Any) -> dict[str, int]:
    """How often an image's forward pass multiplies with each number of a layer's weight."""
    counts: dict[str, int] = {}

    def counter(name: str) -> Callable[..., None]:
        def count(layer: paddle.nn.Layer, given: tuple, output: paddle.Tensor) -> None:
            channels = output.shape[layers.channel_dimension(layer, output.ndim)]
            counts[name] = counts.get(name, 0) + output.size // output.shape[0] // channels

        return count

    with layers.watched(found, counter, after=True):
        describing.call(model, batch)
    return counts


def _scores(model: paddle.nn.Layer, batches: Sequence[Any]) -> np.ndarray:
    found = [next(iter(describing.tensors(describing.call(model, batch)))).numpy() for batch in batches]
    return np.concatenate([scores.reshape(len(scores), -1) for scores in found]).astype(np.float64)
