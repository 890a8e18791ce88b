"""Quantizers where an integer graph rounds, on the outputs of layers as well: `placement: deploy`.

A place on a layer's input is that layer's own `_fake_quant_input`. A place on a layer's output is a sublayer of it,
`<layer>._fake_quant_output`, called by a forward hook, on any kind of layer; the quantized layers that read the rounded
tensor then take it as it is. Where a layer is called more than once, each call has a quantizer of its own, named by its
number below these names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim import graph
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.graph import Site
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.images import image_shape
from ppcls_compress.slim.quant.placement.calls import ByCall, Calls, QuantizersByCall, check_training, detach, repeated
from ppcls_compress.slim.quant.placement.plan import Place, Spot, Unlearned, plan
from ppcls_compress.slim.quant.quantizers import activations
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer

OUTPUT = "_fake_quant_output"


@dataclass(frozen=True)
class Found:
    """What tracing finds.

    Attributes:
        places: where to round.
        unlearned: what cannot be rounded in training.
        calls: of each layer at a place that is called more than once, in order.
    """

    places: list[Place]
    unlearned: list[Unlearned]
    calls: dict[str, tuple[Site, ...]]


def find(model: paddle.nn.Layer, quantized: Sequence[str], inputs: Sequence[Any] | None) -> Found:
    """Trace a float model, batch norms folded, for its places.

    Args:
        model: not changed.
        quantized: names of the layers to be quantized.
        inputs: what the model takes; left out, images are tried.

    Raises:
        UserError: the model does not run on the inputs, or calls a layer more often in training than in evaluation.
    """
    inputs = image_shape(model) if inputs is None else inputs
    traced = graph.capture_or_refuse(model, inputs)
    training = traced.calls
    with contextlib.suppress(graph.CaptureError):  # then only the first step of training can tell
        training = graph.capture(model, inputs, training=True).calls
    places, unlearned = plan(traced, quantized, repeated(traced.calls) | repeated(training))
    several = {layer for place in places for layer, call in _spots(place) if call is not None}
    sites = {layer: tuple(call.site for call in traced.calls if call.layer == layer) for layer in sorted(several)}
    check_training(sites, training)
    return Found(places, unlearned, sites)


def to_record(found: Found) -> dict[str, Any]:
    """It as plain JSON values, under `places`, `unlearned` and `calls`."""
    rows = []
    for place in found.places:
        row = {**asdict(place), "readers": [_plain(spot, None) for spot in place.readers]}
        rows.append({key: value for key, value in row.items() if key != "call" or value is not None})
    calls = {layer: [[_plain(step, 0) for step in site] for site in sites] for layer, sites in found.calls.items()}
    record = {"places": rows, "unlearned": [asdict(item) for item in found.unlearned]}
    return {**record, "calls": calls} if calls else record


def from_record(record: Mapping[str, Any]) -> tuple[list[Place], dict[str, tuple[Site, ...]]]:
    """The places of a record, and the calls of layers that are called more than once.

    Returns:
        Both; empty for a record of another placement.

    Raises:
        UserError: they have another form.
    """
    try:
        places = [
            Place(**{**row, "readers": tuple(map(_pair(None), row["readers"]))}) for row in record.get("places", ())
        ]
        calls = {
            layer: tuple(tuple(map(_pair(0), site)) for site in sites)
            for layer, sites in record.get("calls", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the record's places are not as `placement: deploy` writes them: {error}") from error
    return places, calls


def _plain(step: tuple[str, int | None], usual: int | None) -> str | list[str | int]:
    """A layer's name, and its number beside it unless that is the usual one."""
    return step[0] if step[1] == usual else list(step)


def _pair(usual: int | None) -> Callable[[Any], tuple[str, int | None]]:
    """What reads what `_plain` wrote."""

    def pair(item: Any) -> tuple[str, int | None]:
        name, number = (item, usual) if isinstance(item, str) else item
        return name, number

    return pair


def apply(
    model: paddle.nn.Layer, places: Iterable[Place], calls: Mapping[str, Sequence[Site]], options: QuantOptions
) -> None:
    """Give a prepared model the quantizers of its places, in place.

    Raises:
        UserError: the model has no such layer.
    """
    found = dict(model.named_sublayers())
    placed: dict[tuple[str, str], dict[int | None, ActivationQuantizer]] = {}
    for place in places:
        spots = _spots(place)
        missing = [name for name, _ in spots if name not in found]
        if missing:
            raise UserError(f"the record names a layer that this model does not have: {missing[0]}")
        quantizer = _quantizer(place, found[place.layer], options)
        placed.setdefault((place.layer, place.side), {})[place.call] = quantizer
        for reader, call in place.readers:
            placed.setdefault((reader, "input"), {})[call] = RoundedBefore(reader, quantizer)
    followed = Calls(calls)
    if calls:
        followed.attach(model)
    for (name, side), parts in placed.items():
        part = parts[None] if None in parts else QuantizersByCall(f"{name} ({side})", followed, name, parts)
        if side == "input":
            found[name]._fake_quant_input = part
        else:
            found[name].add_sublayer(OUTPUT, part)
            found[name].register_forward_post_hook(_round_output)
    for layer in layers.quant_layers(model).values():
        layer.rounds_bias = layer.rounds_bias or is_placed(layer)


def _spots(place: Place) -> list[Spot]:
    return [(place.layer, place.call), *place.readers]


def _quantizer(place: Place, layer: paddle.nn.Layer, options: QuantOptions) -> ActivationQuantizer:
    side = place.side if place.call is None else f"{place.side}, call {place.call + 1}"
    quantizer = activations.build_placed(
        f"{place.layer} ({side})",
        options,
        non_negative=place.non_negative,
        unit_range=place.unit_range,
        channels=layer._in_channels if place.side == "input" and layers.is_depthwise(layer) else None,
    )
    quantizer.training = layer.training
    return quantizer


def is_placed(model: paddle.nn.Layer) -> bool:
    """Whether a model was prepared with `placement: deploy`."""
    return any(getattr(layer, "placed", False) for layer in model.sublayers())


def outputs(model: paddle.nn.Layer) -> dict[str, paddle.nn.Layer]:
    """The layers whose output is rounded, by structured name."""
    return {name: layer for name, layer in model.named_sublayers() if OUTPUT in layer._sub_layers and _hooks(layer)}


def quantizer_of(layer: paddle.nn.Layer) -> paddle.nn.Layer:
    """What rounds the output of a layer."""
    return layer._sub_layers[OUTPUT]


def quantizers(part: paddle.nn.Layer) -> list[paddle.nn.Layer]:
    """What rounds an input or output, one for each call if the calls have their own."""
    return list(part.parts().values()) if isinstance(part, ByCall) else [part]


def replaced(part: paddle.nn.Layer, change: Callable[[paddle.nn.Layer], paddle.nn.Layer]) -> paddle.nn.Layer:
    """Something else in the place of what rounds an input or output, of each call where they have their own."""
    return part.mapped(change) if isinstance(part, ByCall) else change(part)


def remove(model: paddle.nn.Layer) -> None:
    """Take the quantizers of outputs away, in place."""
    for layer in outputs(model).values():
        del layer._sub_layers[OUTPUT]
        for key in _hooks(layer):
            del layer._forward_post_hooks[key]
    detach(model)


class RoundedBefore(ActivationQuantizer):
    """Stands for the quantizer of an input that arrives rounded, and knows its grid."""

    placed = True

    def __init__(self, layer_name: str, source: ActivationQuantizer) -> None:
        super().__init__(layer_name, source.bits)
        self._source = (source,)  # in a tuple, so that its state belongs to one layer only

    @property
    def source(self) -> ActivationQuantizer:
        """The quantizer that rounds."""
        return self._source[0]

    @property
    def unsigned(self) -> bool:
        """Whether the grid has non-negative levels only."""
        return self.source.unsigned

    @property
    def full_range(self) -> bool:
        """Whether the grid uses the lowest integer."""
        return self.source.full_range

    @property
    def zero_point(self) -> int | None:
        """The integer of 0, on a grid of non-negative integers."""
        return self.source.zero_point

    def factors(self) -> np.ndarray | None:
        """What the grid is multiplied by for each channel."""
        return self.source.factors()

    def limit(self) -> float | None:
        """The largest value of the grid."""
        return self.source.limit()

    def current_step(self) -> paddle.Tensor:
        """What one integer stands for."""
        return self.source.current_step()

    def current_limit(self) -> paddle.Tensor:
        """The largest value of the grid, [1]."""
        return self.source.current_limit()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """`x` itself; while outputs are left in float, `x` rounded as the layer before would."""
        return x if self.source.quantizing else self.source(x)


def _round_output(layer: paddle.nn.Layer, inputs: tuple, output: object) -> object:
    quantizer = quantizer_of(layer)
    if not quantizer.quantizing:
        return output

    def rounded(tensor: paddle.Tensor) -> paddle.Tensor:
        return quantizer(tensor if tensor.dtype == paddle.float32 else tensor.astype("float32"))

    return describing.tensors_mapped(output, rounded)


def _hooks(layer: paddle.nn.Layer) -> list[int]:
    return [key for key, hook in layer._forward_post_hooks.items() if hook is _round_output]
