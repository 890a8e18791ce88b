"""A network layer by layer: shapes, parameters, multiply-adds, and what compression made of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import paddle
from rich.table import Table

from ppcls_compress.report.printing import standard_output
from ppcls_compress.slim import branches
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.cost import counted_parameters, multiply_adds
from ppcls_compress.slim.graph import capture_or_refuse
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.select import select
from ppcls_compress.slim.record import Record, step_of


@dataclass(frozen=True)
class Layer:
    """A convolution or a product; shapes are for one image.

    Attributes:
        name: its path in the network.
        op: the operator.
        input: shape of what it reads.
        output: shape of what it gives.
        weight: shape of its weight; None where that is computed.
        before: the same in the dense network; None where it was not pruned.
        params: of the layer, its bias included.
        flops: multiply-adds.
        quantized: bits of weight and input, `8/8`; None where it stays float.
        note: why it stays whole or float, where that is known.
    """

    name: str
    op: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    weight: tuple[int, ...] | None
    before: tuple[int, ...] | None
    params: int
    flops: int
    quantized: str | None
    note: str


@dataclass(frozen=True)
class Layers:
    """All layers with multiply-adds, in the order in which they run, and the parameters of all there are."""

    layers: tuple[Layer, ...]
    params: int

    @property
    def flops(self) -> int:
        """Multiply-adds of the network."""
        return sum(layer.flops for layer in self.layers)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"params": self.params, "flops": self.flops, "layers": [asdict(layer) for layer in self.layers]}


def layers_of(model: paddle.nn.Layer, inputs: Inputs, record: Record) -> Layers:
    """The layers of a float network.

    Args:
        model: in the structure of `record`, quantization left out.
        inputs: shapes of its inputs, `[[1, C, H, W]]`.
        record: what was done to it.

    Raises:
        UserError: the forward pass fails on such inputs.
    """
    graph = capture_or_refuse(model, inputs)
    counted = {id(parameter) for parameter in counted_parameters(model)}
    owners = dict(model.named_sublayers(include_self=True))
    before, told = _before(record), _notes(record)
    bits = _bits(model, record)
    found = []
    for op in graph.ops:
        flops = multiply_adds(op, graph.shapes)
        if flops is None:
            continue
        weight = op.inputs[1] if len(op.inputs) > 1 else None
        shape = tuple(graph.shapes[weight]) if weight in graph.parameters else None
        own = owners[op.owner].parameters(include_sublayers=False) if op.owner in owners else []
        dense = before.get(op.owner)
        found.append(
            Layer(
                name=op.owner,
                op=op.name,
                input=tuple(graph.shapes[op.inputs[0]]),
                output=tuple(graph.shapes[op.outputs[0]]),
                weight=shape,
                before=dense if dense != shape else None,
                params=sum(prod(p.shape) for p in own if id(p) in counted) if shape else 0,
                flops=flops,
                quantized=bits.get(op.owner),
                note="; ".join([*told.get(op.owner, ()), *told.get(graph.parameters.get(weight, ""), ())]),
            )
        )
    return Layers(tuple(found), sum(prod(p.shape) for p in counted_parameters(model)))


def _before(record: Record) -> dict[str, tuple[int, ...]]:
    """Shapes of weights before the first pruning, by layer."""
    first = step_of(record, "prune")
    rows = [] if first is None else first.get("layers", [])
    return {row["name"]: tuple(row["before"]["shape"]) for row in rows if row["before"]["shape"]}


def _bits(model: paddle.nn.Layer, record: Record) -> dict[str, str]:
    """Of weight and input of each quantized layer, as rules and budgets of their own say too."""
    step = step_of(record, "quant")
    if step is None:
        return {}
    options = QuantOptions.from_dict(step["options"]).with_bits(step.get("bits", {}))
    if step.get("merged"):
        model = copied(model)
        branches.merge_named(model, step["merged"])
    chosen = select(model, options, step.get("uncalled", ())).chosen
    return {name: f"{own.weight_bits}/{own.activation_bits}" for name, own in chosen.items()}


def _notes(record: Record) -> Mapping[str, list[str]]:
    """Why layers stayed whole or float."""
    found: dict[str, list[str]] = {}
    prunings = [step for step in record["steps"] if step["kind"] == "prune"]
    for pin in prunings[-1].get("pinned", []) if prunings else []:
        found.setdefault(pin["layer"], []).append(f"whole: {pin['reason']}")
    for skip in (step_of(record, "quant") or {}).get("skipped", []):
        found.setdefault(skip["layer"], []).append(f"float: {skip['reason']}")
    return found


def show(found: Layers) -> None:
    """Print a table on standard output, with totals."""
    table = Table(title_justify="left")
    for heading in ("layer", "operator", "input", "output", "weight"):
        table.add_column(heading)
    for heading in ("parameters", "multiply-adds", "%"):
        table.add_column(heading, justify="right")
    table.add_column("bits w/a")
    table.add_column("remark")
    for layer in found.layers:
        weight = "computed" if layer.weight is None else _shape(layer.weight)
        weight = weight if layer.before is None else f"{_shape(layer.before)} -> {weight}"
        share = 100 * layer.flops / max(found.flops, 1)
        texts = (layer.name, layer.op, _shape(layer.input[1:]), _shape(layer.output[1:]), weight)
        numbers = (f"{layer.params:,}", f"{layer.flops:,}", f"{share:.1f}")
        table.add_row(*texts, *numbers, layer.quantized or "float", layer.note)
    rest = found.params - sum(layer.params for layer in found.layers)
    table.add_section()
    table.add_row("others (norms and the like)", "", "", "", "", f"{rest:,}", "", "", "", "")
    table.add_row("all", "", "", "", "", f"{found.params:,}", f"{found.flops:,}", "100.0", "", "")
    standard_output().print(table)


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) or "1"
