"""What quantization does to each layer: noise, what it costs alone, the likely cause, and what helps.

model, _ = prepare(model, options); calibrate(model, batches)
rows = list(analyze(model, batches))          # one row per quantized layer, the noisiest output first
print(remedy(rows))                           # a block for `Slim.quant`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.quant import causes, layers
from ppcls_compress.slim.quant.calibrate import required_quant_layers
from ppcls_compress.slim.quant.causes import Cause
from ppcls_compress.slim.quant.inference import LayerGrid, grids
from ppcls_compress.slim.quant.input_grid import InputGrid
from ppcls_compress.slim.quant.placement import placement

NOISY = 20.0
"""Below so many decibels an output is told as noisy; a tenth of its size is noise."""
_NO_ERROR = 200.0


@dataclass(frozen=True)
class Row:
    """One quantized layer; noise in decibels, -10 log10 of the mean over the channels of error power / signal power.

    The mean over channels, for in the power of the whole tensor a wide channel hides what narrow ones lose.

    Attributes:
        layer: structured name.
        weight_db: of its weight.
        input_db: of what it reads, given the float network's.
        output_db: of what it gives, from its own rounding alone.
        alone: fraction of images whose class stays that of the float network when this layer alone is rounded.
        without: the same when every layer but this one is rounded.
        causes: why, the likeliest first.
    """

    layer: str
    weight_db: float
    input_db: float
    output_db: float
    alone: float
    without: float
    causes: tuple[Cause, ...] = ()


@dataclass
class _Seen:
    """Powers of signals and errors of each channel, by what they are of, and the ends of the input's channels."""

    signal: dict[str, np.ndarray] = field(default_factory=dict)
    noise: dict[str, np.ndarray] = field(default_factory=dict)
    shift: np.ndarray | float = 0.0
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    outside: float = 0.0
    count: int = 0
    places: int = 0
    sums: float = 0.0

    def add(self, what: str, exact: paddle.Tensor, rounded: paddle.Tensor, axis: int) -> None:
        """Take in a tensor, whose channels lie along `axis`, and what rounding made of it."""
        others = [other for other in range(exact.ndim) if other != axis]
        for store, values in ((self.signal, exact), (self.noise, exact - rounded)):
            power = values.astype("float32").square().sum(axis=others).numpy().astype(np.float64)
            store[what] = store.get(what, 0.0) + power

    def look(self, x: np.ndarray, grid: InputGrid | None) -> None:
        """Take in a batch of the input, [N, C, ...]."""
        rows = x.reshape(*x.shape[:2], -1) if x.ndim > 1 else x.reshape(1, -1, 1)
        low, high = rows.min(axis=(0, 2)), rows.max(axis=(0, 2))
        self.low = low if self.low is None else np.minimum(low, self.low)
        self.high = high if self.high is None else np.maximum(high, self.high)
        if grid is not None and grid.limit is not None:
            scales = grid.scales.reshape(-1, 1)
            self.outside += float(((rows > (grid.high + 0.5) * scales) | (rows < (grid.low - 0.5) * scales)).sum())
        self.count += x.size

    def look_at_output(self, exact: paddle.Tensor, given: paddle.Tensor, axis: int) -> None:
        """Take in what the layer gives exactly and rounded, for the mean of its error in each channel."""
        others = [other for other in range(exact.ndim) if other != axis]
        self.shift = self.shift + (given - exact).astype("float32").sum(axis=others).numpy().astype(np.float64)
        self.places += exact.size // exact.shape[axis]

    def extent(self, decibels: Mapping[str, float]) -> causes.Extent:
        """What the causes are told by."""
        noise = self.noise["output"].sum() / self.places
        shifted = np.square(self.shift / self.places).sum() / noise if noise > 0 else 0.0
        share = self.outside / self.count
        return causes.Extent(decibels, self.low, self.high, share, float(shifted), self.sums)

    def decibels(self, what: str) -> float:
        """The ratio of signal to error over the channels that are not zero throughout."""
        present = self.signal[what] > 0
        share = (self.noise[what][present] / self.signal[what][present]).mean() if present.any() else 0.0
        return float(-10 * np.log10(share)) if share > 0 else _NO_ERROR


def analyze(
    model: paddle.nn.Layer,
    batches: Sequence[paddle.Tensor],
    *,
    done: Collection[str] = (),
    score: Callable[[paddle.nn.Layer], float] | None = None,
) -> Iterator[Row]:
    """Look at every quantized layer, the noisiest output first.

    Args:
        model: prepared and calibrated, or trained; its modes and flags are as before afterwards. It gives scores for
            each class, or several tensors of which the first are the scores.
        batches: what the model takes; a hundred images tell the causes, a few hundred the costs.
        done: names of layers that are not to be looked at again.
        score: judges the model in place of the share of classes that stay, for `alone` and `without`.

    Raises:
        UserError: no quantized layer, one that is not calibrated, or no batch.
    """
    found = required_quant_layers(model)
    known = grids(model)
    batches = list(batches)
    if not batches:
        raise UserError("the analysis needs at least one batch, found none")
    with layers.evaluating(model), paddle.no_grad(), Rounding(model) as flags:
        flags.round_only(())
        seen = {name: _Seen() for name in found}
        exact = _classes(model, batches, found, known, seen)
        for name in sorted(found, key=lambda name: seen[name].decibels("output")):
            if name in done:
                continue
            shares = []
            for rounded in ((name,), [other for other in found if other != name]):
                flags.round_only(rounded)
                same = score or (lambda judged: (_answers(judged, batches) == exact).mean())
                shares.append(float(same(model)))
            yield _row(name, found[name], known[name], seen[name], *shares)


def agreement(model: paddle.nn.Layer, batches: Sequence[paddle.Tensor]) -> float:
    """The fraction of images whose class is that of the float network when all layers round."""
    with layers.evaluating(model), paddle.no_grad(), Rounding(model) as flags:
        flags.round_only(())
        exact = _answers(model, batches)
        flags.round_only(required_quant_layers(model))
        return float((_answers(model, batches) == exact).mean())


class Rounding:
    """Which layers round; all as before at the end."""

    def __init__(self, model: paddle.nn.Layer) -> None:
        self._found = required_quant_layers(model)
        self._outputs = [placement.quantizer_of(layer) for layer in placement.outputs(model).values()]

    def round_only(self, names: Collection[str]) -> None:
        """Let the named layers round and no others; other tensors of the graph where more than one layer does."""
        for name, layer in self._found.items():
            layer.quantizing = name in names
        for quantizer in self._outputs:
            quantizer.quantizing = len(names) > 1

    def __enter__(self) -> Rounding:
        return self

    def __exit__(self, *_: object) -> None:
        self.round_only(list(self._found))
        for quantizer in self._outputs:
            quantizer.quantizing = True


def _classes(
    model: paddle.nn.Layer,
    batches: Sequence[paddle.Tensor],
    found: dict[str, paddle.nn.Layer],
    known: dict[str, LayerGrid],
    seen: dict[str, _Seen],
) -> np.ndarray:
    """The float network's answers; on the way, what each layer's own rounding changes."""

    def hook_for(name: str):
        def look(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> None:
            x, rest, named = layer.arguments(inputs, named)
            rounded, weight = layer.quantized_input(x), layer.quantized_weight()
            seen[name].look(x.astype("float32").numpy(), known[name].input)
            exact = layer.compute(x, layer.weight, *rest, **named)
            given = layer.compute(rounded, weight, *rest, **named)
            seen[name].add("input", x, rounded, layers.channel_dimension(layer, x.ndim))
            seen[name].add("weight", layer.weight, weight, layer.channel_axis)
            seen[name].add("output", exact, given, layers.channel_dimension(layer, exact.ndim))
            seen[name].look_at_output(exact, given, layers.channel_dimension(layer, exact.ndim))
            if seen[name].sums == 0.0:
                seen[name].sums = causes.largest_sum(layer, known[name], rounded, weight, rest, named)

        return look

    hooks = [layer.register_forward_pre_hook(hook_for(name), with_kwargs=True) for name, layer in found.items()]
    try:
        return _answers(model, batches)
    finally:
        for hook in hooks:
            hook.remove()


def _answers(model: paddle.nn.Layer, batches: Sequence[paddle.Tensor]) -> np.ndarray:
    scores = [next(iter(describing.tensors(describing.call(model, batch)))).numpy() for batch in batches]
    return np.concatenate([batch.reshape(len(batch), -1).argmax(1) for batch in scores])


def _row(name: str, layer: paddle.nn.Layer, grid: LayerGrid, seen: _Seen, alone: float, without: float) -> Row:
    decibels = {what: seen.decibels(what) for what in ("weight", "input", "output")}
    found = causes.of_layer(layer, grid, seen.extent(decibels))
    return Row(name, *decibels.values(), alone, without, tuple(found))


def remedy(rows: Sequence[Row]) -> dict[str, Any]:
    """Settings for `Slim.quant` that take care of the noisy layers; empty if there are none.

    What one option mends for all layers is set for all; other noisy layers are left out by `skip`.
    """
    noisy = [row for row in rows if row.output_db < NOISY]
    kinds = {row.layer: [cause.kind for cause in row.causes] for row in noisy}
    helped = {cause.help for row in noisy for cause in row.causes}
    block: dict[str, Any] = {}
    if "asymmetric: auto" in helped:
        block["asymmetric"] = "auto"
    if causes.CHANNEL in helped:
        block["depthwise_ranges"] = "channel"
    mended = {"asymmetric input"} if "asymmetric" in block else set()
    mended |= {"outlier channel"} if "depthwise_ranges" in block else set()
    coarse = [name for name, found in kinds.items() if "coarse weights" in found]
    if coarse:
        block["per_layer"] = [{"layers": coarse, "weight_bits": 8}]
    left = [name for name, found in kinds.items() if name not in coarse and not mended.intersection(found)]
    return block | ({"skip": left} if left else {})
