"""Quantizers where an integer graph rounds, on the outputs of layers as well: `placement: deploy`.

A place on a layer's input is that layer's own `_fake_quant_input`. A place on a layer's output is a sublayer of it,
`<layer>._fake_quant_output`, called by a forward hook, on any kind of layer; the quantized layers that read the rounded
tensor then take it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim import graph
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.images import image_shape
from ppcls_compress.slim.quant.placement.plan import Place, Unlearned, plan
from ppcls_compress.slim.quant.quantizers import activations
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer

OUTPUT = "_fake_quant_output"


def find(
    model: paddle.nn.Layer, quantized: Sequence[str], inputs: Sequence[Any] | None
) -> tuple[list[Place], list[Unlearned]]:
    """Trace a float model, batch norms folded, for its places.

    Args:
        model: not changed.
        quantized: names of the layers to be quantized.
        inputs: what the model takes; left out, images are tried.

    Raises:
        UserError: the model does not run on the inputs.
    """
    inputs = image_shape(model) if inputs is None else inputs
    return plan(graph.capture_or_refuse(model, inputs), quantized)


def to_record(places: Iterable[Place], unlearned: Iterable[Unlearned]) -> dict[str, Any]:
    """Both as plain JSON values, under `places` and `unlearned`."""
    rows = [{**asdict(place), "readers": list(place.readers)} for place in places]
    return {"places": rows, "unlearned": [asdict(item) for item in unlearned]}


def from_record(record: Mapping[str, Any]) -> list[Place]:
    """The places of a record; none in a record of another placement.

    Raises:
        UserError: they have another form.
    """
    try:
        return [Place(**{**row, "readers": tuple(row["readers"])}) for row in record.get("places", ())]
    except (KeyError, TypeError) as error:
        raise UserError(f"the record's places are not as `placement: deploy` writes them: {error}") from error


def apply(model: paddle.nn.Layer, places: Iterable[Place], options: QuantOptions) -> None:
    """Give a prepared model the quantizers of its places, in place.

    Raises:
        UserError: the model has no such layer.
    """
    found = dict(model.named_sublayers())
    for place in places:
        missing = [name for name in (place.layer, *place.readers) if name not in found]
        if missing:
            raise UserError(f"the record names a layer that this model does not have: {missing[0]}")
        layer = found[place.layer]
        name = f"{place.layer} ({place.side})"
        quantizer = activations.build_placed(
            name, options, non_negative=place.non_negative, unit_range=place.unit_range
        )
        quantizer.training = layer.training
        if place.side == "input":
            layer._fake_quant_input = quantizer
            continue
        layer.add_sublayer(OUTPUT, quantizer)
        layer.register_forward_post_hook(_round_output)
        for reader in place.readers:
            found[reader]._fake_quant_input = RoundedBefore(reader, quantizer)
    for layer in layers.quant_layers(model).values():
        layer.rounds_bias = layer.rounds_bias or is_placed(layer)


def is_placed(model: paddle.nn.Layer) -> bool:
    """Whether a model was prepared with `placement: deploy`."""
    return any(getattr(layer, "placed", False) for layer in model.sublayers())


def outputs(model: paddle.nn.Layer) -> dict[str, paddle.nn.Layer]:
    """The layers whose output is rounded, by structured name."""
    return {name: layer for name, layer in model.named_sublayers() if OUTPUT in layer._sub_layers and _hooks(layer)}


def quantizer_of(layer: paddle.nn.Layer) -> paddle.nn.Layer:
    """What rounds the output of a layer."""
    return layer._sub_layers[OUTPUT]


def remove(model: paddle.nn.Layer) -> None:
    """Take the quantizers of outputs away, in place."""
    for layer in outputs(model).values():
        del layer._sub_layers[OUTPUT]
        for key in _hooks(layer):
            del layer._forward_post_hooks[key]


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

    def limit(self) -> float | None:
        """The largest value of the grid."""
        return self.source.limit()

    def current_limit(self) -> paddle.Tensor:
        """The largest value of the grid, [1]."""
        return self.source.current_limit()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """`x` itself; while outputs are left in float, `x` rounded as the layer before would."""
        return x if self.source.quantizing else self.source(x)


def _round_output(layer: paddle.nn.Layer, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
    quantizer = quantizer_of(layer)
    if not quantizer.quantizing:
        return output
    return quantizer(output if output.dtype == paddle.float32 else output.astype("float32"))


def _hooks(layer: paddle.nn.Layer) -> list[int]:
    return [key for key, hook in layer._forward_post_hooks.items() if hook is _round_output]
