"""The record of a pruning: plain JSON that rebuilds the exact structure on a fresh dense network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError, first_line, shortened
from ppcls_compress.slim.cost import Cost
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.structure import Change
from ppcls_compress.slim.prune.cut.surgery import Surgery

VERSION = 1


def write(
    plan: Plan,
    options: PruneOptions,
    changes: list[Change],
    costs: tuple[Cost, Cost],
    pinned: list[dict[str, str]],
) -> dict[str, object]:
    """A JSON-able description: what was asked, what is kept, what else changed, what it costs before and after.

    Keys: `kept` {state-dict name: {axis: kept indices}}, `attributes` [[layer path, attribute, value]], where the value
    of a buffer by whose numbers channels are picked is the list of its numbers, `before` and `after` {params, flops},
    `layers` [{name, before, after}] with each layer's weight shape and multiply-adds, `pinned` [{layer, op, reason}].
    """
    before, after = costs
    return {
        "kind": "prune",
        "version": VERSION,
        "options": options_json(options),
        "kept": {name: {str(axis): index.tolist() for axis, index in axes.items()} for name, axes in plan.kept.items()},
        "attributes": json.loads(json.dumps(changes)),
        "before": {"params": before.params, "flops": before.flops},
        "after": {"params": after.params, "flops": after.flops},
        "layers": _layers(plan, before, after),
        "pinned": pinned,
    }


def options_json(options: PruneOptions) -> dict[str, object]:
    """The options as plain JSON."""
    return json.loads(json.dumps(asdict(options)))


def _layers(plan: Plan, before: Cost, after: Cost) -> list[dict[str, object]]:
    graph = plan.channels.tracing.graph
    values = {name: value for value, name in graph.parameters.items()}
    shapes = plan.shapes()
    layers = []
    for old, new in zip(before.layers, after.layers, strict=True):
        weight = values.get(old.weight)
        layers.append(
            {
                "name": old.name,
                "before": {"shape": list(graph.shapes[weight]) if weight else None, "flops": old.flops},
                "after": {"shape": list(shapes[weight]) if weight else None, "flops": new.flops},
            }
        )
    return layers


def apply_record(model: nn.Layer, record: Mapping[str, object]) -> nn.Layer:
    """Gives a fresh dense network the pruned structure that `record` describes, in place; nothing is traced or chosen.

    Raises:
        UserError: the record is of another kind or version, or does not fit this network. The model is then as it was.
    """
    network = model._layers if isinstance(model, paddle.DataParallel) else model
    if record.get("kind") != "prune" or record.get("version") != VERSION:
        raise UserError(
            f"expected a record of kind 'prune', version {VERSION}; "
            f"found kind {shortened(record.get('kind'))}, version {shortened(record.get('version'))}"
        )
    surgery = Surgery()
    try:
        _apply(network, record, surgery)
    except BaseException:
        surgery.undo()
        raise
    surgery.drop_gradients()
    return model


def misfit(network: nn.Layer, records: Sequence[Mapping[str, object]], *, changed_since: bool) -> str | None:
    """What of a pruned network is not as the records of its pruning left it: the first parameter, and both shapes.

    Args:
        records: of all steps, in their order.
        changed_since: whether something else was done after them, which may take parameters away.
    """
    tensors = _tensors(network)
    sizes: dict[str, dict[int, int]] = {}
    for record in records:
        for name, axes in record["kept"].items():
            sizes.setdefault(name, {}).update({int(axis): len(indices) for axis, indices in axes.items()})
    for name, axes in sizes.items():
        if name not in tensors:
            if changed_since:
                continue
            return _absent(name)
        found = list(tensors[name].shape)
        left = [axes.get(axis, size) for axis, size in enumerate(found)]
        left += [axes.get(axis, "?") for axis in range(len(found), max(axes, default=-1) + 1)]
        if left != found:
            return f"the pruning record left {shortened(name)} with the shape {_listed(left)}, here it is {found}"
    return None


def _listed(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _absent(name: str) -> str:
    return f"the pruning record names {shortened(name)}, which this network does not have"


def _tensors(network: nn.Layer) -> dict[str, paddle.Tensor]:
    inner = network._layers if isinstance(network, paddle.DataParallel) else network
    return {**dict(inner.named_parameters()), **dict(inner.named_buffers())}


def _apply(network: nn.Layer, record: Mapping[str, object], surgery: Surgery) -> None:
    tensors = _tensors(network)
    layers = dict(network.named_sublayers(include_self=True))
    kept: dict[str, dict[int, np.ndarray]] = {}
    for name, axes in record["kept"].items():
        if name not in tensors:
            raise UserError(_absent(name))
        kept[name] = {int(axis): np.asarray(indices, dtype=np.int64) for axis, indices in axes.items()}
        shape = tensors[name].shape
        for axis, indices in kept[name].items():
            if axis >= len(shape) or not len(indices) or indices.min() < 0 or indices.max() >= shape[axis]:
                raise UserError(
                    f"the pruning record does not fit {shortened(name)} of shape {list(shape)} on axis {axis}"
                )
    for path, attribute, _ in record["attributes"]:
        if path not in layers or not hasattr(layers[path], attribute):
            raise UserError(f"the pruning record names {path}.{attribute}, which this network does not have")
    surgery.shrink(tensors, kept)
    for path, attribute, value in record["attributes"]:
        old = getattr(layers[path], attribute)
        if isinstance(old, paddle.Tensor):
            surgery.refill(old, _numbers(value, old, f"{path}.{attribute}"))
        else:
            surgery.set_attribute(layers[path], attribute, _like(value, old))


def _numbers(value: object, old: paddle.Tensor, name: str) -> np.ndarray:
    """What a record has for a tensor that a network keeps: no more numbers than there were."""
    try:
        found = np.asarray(value, dtype=old.numpy().dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the pruning record has no numbers for {shortened(name)}: {first_line(error)}") from error
    if found.size > old.size or found.ndim != old.ndim:
        raise UserError(
            f"the pruning record has numbers of shape {list(found.shape)} for {shortened(name)}, which has {old.shape}"
        )
    return found


def _like(value: object, old: object) -> object:
    """JSON has no tuples: lists become tuples again where the attribute holds tuples."""
    if not isinstance(value, list):
        return value
    olds = list(old) if isinstance(old, list | tuple) and len(old) == len(value) else [None] * len(value)
    items = [_like(item, other) for item, other in zip(value, olds, strict=True)]
    return tuple(items) if isinstance(old, tuple) else items
