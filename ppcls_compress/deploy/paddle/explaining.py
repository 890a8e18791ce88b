"""Which layer explains that a program of Paddle's is not what was trained; for the message of a comparison that failed.

Paddle Inference shows nothing of what lies inside the program that it makes of a file. So the network is computed once
more in Paddle, layer by layer, on the grids that the file holds, and compared with the trained one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import paddle

from ppcls_compress.deploy.lost import CLEAN, Read, decibels, most
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.quant import InputGrid, WeightGrid, inference, layers, native, quant_layers

_LOOKED_AT = 8
"""Images; all that every layer reads is held in memory for them."""


@dataclass(frozen=True)
class Held:
    """What a format holds of a layer's grids.

    Attributes:
        input: of the grid of its input.
        weight: of that of its weight.
    """

    input: Callable[[InputGrid], InputGrid] = lambda grid: grid
    weight: Callable[[WeightGrid], WeightGrid] = lambda grid: grid


def once_more(weight: WeightGrid) -> WeightGrid:
    """A weight that Paddle's passes round again, each channel to the grid that ends at its largest integer."""
    integers = weight.integers.astype(np.float64)
    others = tuple(axis for axis in range(integers.ndim) if axis != weight.axis)
    largest = np.abs(integers).max(axis=others)
    used = np.where(largest > 0, largest, weight.levels)
    again = np.rint(integers * weight.along_axis(weight.levels / used)).astype(weight.integers.dtype)
    return replace(weight, integers=again, limit=(weight.limit * used / weight.levels).astype(weight.limit.dtype))


def _signed(grid: InputGrid) -> InputGrid:
    return replace(grid.plain(), unsigned=False)


HELD: Mapping[str, Held] = {
    "paddle": Held(),
    "onednn": Held(InputGrid.plain, once_more),
    "paddle-lite": Held(_signed),
}
"""By the name of the format."""


def explain(model: paddle.nn.Layer, images: np.ndarray, held: Held) -> str:
    """The layer that explains best why a program is not what the network is, or that none does, in words.

    Args:
        model: calibrated or trained; not changed.
        images: float32 [N, C, H, W]; some of them are looked at.
        held: what the format holds.
    """
    images = images[:_LOOKED_AT]
    model = native(model)
    trained = inference.grids(model)
    wanted, exact = _trained(model, images)
    found = _filed(model, trained, images, held)
    compared = [name for name, calls in wanted.items() if len(calls) == 1 == len(found[name])]
    rows = []
    for name in compared:
        grid = trained[name].input
        reach, limit = float(np.abs(exact[name][0]).max()), grid and held.input(grid).limit
        rows.append(Read(name, _kept(wanted[name][0], found[name][0]), reach, limit))
    worst = most(rows)
    if worst is None:
        return (
            "no layer's range explains it: computed layer by layer, what the file holds is what was trained, so it is "
            "Paddle Inference's own arithmetic that differs"
        )
    layer, told = worst
    return f"{told}{_changed(trained[layer].input, held)}"


def _kept(wanted: np.ndarray, found: np.ndarray) -> float:
    """Decibels, on average over channels: those of small values are lost without a trace in the sum of all."""
    if wanted.shape != found.shape or wanted.ndim != 4:
        return decibels(wanted, found)
    rows = [decibels(one, other) for one, other in zip(wanted.swapaxes(0, 1), found.swapaxes(0, 1), strict=True)]
    return float(np.clip(rows, 0, CLEAN).mean())


def _changed(grid: InputGrid | None, held: Held) -> str:
    """How a grid in the file is another one, as the end of a sentence."""
    if grid is None or held.input(grid) == grid:
        return ""
    there = held.input(grid)
    ways = {
        "one range for all channels, where training had one for each": grid.factors != there.factors,
        "zero on its middle or lowest integer, where training had it elsewhere": grid.zero_point != there.zero_point,
        "half of its integers below zero, where training had none": grid.unsigned != there.unsigned,
    }
    return "".join(f"; in the file it has {words}" for words, differs in ways.items() if differs)


_Seen = dict[str, list[np.ndarray]]


def _trained(model: paddle.nn.Layer, images: np.ndarray) -> tuple[_Seen, _Seen]:
    """What each quantized layer reads in each of its calls, rounded, and before that."""
    rounded, exact = defaultdict(list), defaultdict(list)

    def hook_for(name: str) -> Callable[..., None]:
        def look(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, object]) -> None:
            x = layer.arguments(inputs, named)[0]
            exact[name].append(x.numpy())
            rounded[name].append(layer.quantized_input(x).numpy())

        return look

    found = quant_layers(model).items()
    hooks = [layer.register_forward_pre_hook(hook_for(name), with_kwargs=True) for name, layer in found]
    with _removed(hooks), layers.evaluating(model), paddle.no_grad():
        describing.call(model, paddle.to_tensor(images))
    return rounded, exact


def _filed(model: paddle.nn.Layer, trained: Mapping[str, inference.LayerGrid], images: np.ndarray, held: Held) -> _Seen:
    """What they read in the network that the file holds."""
    network, seen = inference.to_inference(model), defaultdict(list)
    known = {name: grid for name, grid in trained.items() if None not in (grid.input, grid.weight)}
    other = {name: held.input(grid.input) for name, grid in known.items() if len(grid.calls) < 2}
    other = {name: grid for name, grid in other.items() if grid != known[name].input}
    inference.put_on_grids(network, other, {name: held.weight(grid.weight) for name, grid in known.items()})
    inference.fold_batch_norms(network, [list(images[:2].shape)])

    def hook_for(name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: seen[name].append(output.numpy())

    folded = dict(network.named_sublayers())
    with (
        _removed([folded[name].rounding.register_forward_post_hook(hook_for(name)) for name in trained]),
        paddle.no_grad(),
    ):
        describing.call(network, paddle.to_tensor(images))
    return seen


@contextmanager
def _removed(hooks: Sequence) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
