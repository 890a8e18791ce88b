"""Which layer explains that a file is not what was trained; for the message of a comparison that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.lost import Read, most
from ppcls_compress.deploy.onnx import graph as editing
from ppcls_compress.deploy.onnx.inspection import OTHER, inspect, nodes_of, run
from ppcls_compress.slim.quant.inference import grids

_LOOKED_AT = 8
"""Images; all that every layer reads is held in memory for them."""
_CLIPPED = 0.005
"""Share of the values beyond a range from which on it is too narrow."""


def explain(path: str | Path, model: paddle.nn.Layer, images: np.ndarray) -> str | None:
    """The layer that explains best why a file is not what the network is, in words; None where none stands out.

    It is one with a fault, or one before which a range is too narrow that only the file has, or else that before which
    the file loses most of what was trained.

    Args:
        path: of the layout `ort` or `openvino`.
        model: calibrated or trained; not changed.
        images: float32 [N, C, H, W]; some of them are looked at.

    Raises:
        UserError: as `inspect` does.
    """
    images = images[:_LOOKED_AT]
    found = inspect(path, model, images)
    for layer, cause in found.faults.items():
        if cause.kind != OTHER:
            return f"{layer} explains it: {cause.kind}: {cause.found} ({cause.help})"
    lost = most(Read(tensor.layer, tensor.file, tensor.reach, tensor.limit) for tensor in found.tensors)
    return _narrow(path, model, images) or (lost and lost[1])


@dataclass(frozen=True)
class _Rounding:
    """A tensor that only the file rounds."""

    before: str
    clipped: float
    end: float
    reach: float


def _narrow(path: str | Path, model: paddle.nn.Layer, images: np.ndarray) -> str | None:
    """The rounding of the file's own that clips most, by the layer that reads what comes of it."""
    network, known = editing.load(path), grids(model)
    nodes = nodes_of(network, known)
    own = {id(node.inputs[0]) for name, node in nodes.items() if known[name].input is not None}
    added = [
        node
        for node in network.graph
        if node.op_type == "QuantizeLinear" and not any(id(value) in own for value in _dequantized(node))
    ]
    if not added:
        return None
    ranges = [_range(node) for node in added]
    readers = {id(node): name for name, node in nodes.items()}
    before = [_reader(node, readers) for node in added]
    seen = run(network, added, images)
    rows = zip(before, seen, ranges, strict=True)
    found = [_Rounding(name, *_clipped(values, *ends)) for name, values, ends in rows if name]
    worst = max(found, key=lambda rounding: rounding.clipped, default=None)
    if worst is None or worst.clipped < _CLIPPED:
        return None
    return (
        f"what {worst.before} reads explains it: before it the file rounds what training left in float, to a range "
        f"that ends at {worst.end:.3g} where it reaches {worst.reach:.3g}, and clips {worst.clipped:.1%}; calibration "
        "images that are like those of evaluation, or placement: deploy, give a wider one"
    )


def _dequantized(node: ir.Node) -> list[ir.Value]:
    return [reader.outputs[0] for reader in node.outputs[0].consumers() if reader.op_type == "DequantizeLinear"]


def _range(node: ir.Node) -> tuple[float, float]:
    """Between which values a QuantizeLinear clips nothing."""
    scale, zero = (editing.constant(value) for value in node.inputs[1:3])
    integers, step, middle = np.iinfo(zero.dtype), float(scale.max()), int(zero.reshape(-1)[0])
    return (integers.min - middle) * step, (integers.max - middle) * step


def _clipped(values: np.ndarray, low: float, high: float) -> tuple[float, float, float]:
    """The share beyond a range, and on the side where it is passed further, its end and how far the values reach."""
    step = (high - low) / 255
    share = float(((values < low - step) | (values > high + step)).mean())
    below, above = low - float(values.min()), float(values.max()) - high
    return (share, low, float(values.min())) if below > above else (share, high, float(values.max()))


def _reader(node: ir.Node, readers: Mapping[int, str]) -> str | None:
    """The first layer that reads what comes of a node, whatever is in between."""
    waiting: Sequence[ir.Node] = [node]
    met: set[int] = set()
    while waiting:
        following = [reader for each in waiting for value in each.outputs for reader in value.consumers()]
        waiting = [each for each in following if id(each) not in met]
        met |= {id(each) for each in waiting}
        named = next((readers[id(each)] for each in waiting if id(each) in readers), None)
        if named is not None:
            return named
    return None
