"""The epsilons of normalizations are the layers' own, whatever the converter wrote.

paddle2onnx 2.1.0 leaves an attribute that the program holds as a double uninitialised (Paddle2ONNX issue 1646), the
epsilon of a group norm in Paddle 3.3 for one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ppcls_compress.deploy.program import Program, attribute, kind
from ppcls_compress.errors import UserError

_NODES = {
    "batch_norm": ("BatchNormalization",),
    "sync_batch_norm": ("BatchNormalization",),
    "layer_norm": ("LayerNormalization",),
    "instance_norm": ("InstanceNormalization",),
    "group_norm": ("InstanceNormalization", "GroupNormalization"),
}
_KINDS = frozenset(name for names in _NODES.values() for name in names)


def take_from(program: Program, model: Any) -> int:
    """Give each normalization of an `onnx.ModelProto` the epsilon of its layer, in place.

    Args:
        program: that the model was converted from, operator by operator, in the same order.
        model: as the converter wrote it.

    Returns:
        How many had another one.

    Raises:
        UserError: the normalizations of model and program are not the same.
    """
    layers = [op for op in program.operators if kind(op) in _NODES]
    nodes = [node for node in model.graph.node if node.op_type in _KINDS]
    if len(layers) != len(nodes) or any(
        node.op_type not in _NODES[kind(op)] for op, node in zip(layers, nodes, strict=True)
    ):
        found = ", ".join(node.op_type for node in nodes) or "none"
        raise UserError(f"normalizations expected for {', '.join(map(kind, layers)) or 'no layer'}; found {found}")
    return sum(_set(node, np.float32(attribute(op, "epsilon"))) for op, node in zip(layers, nodes, strict=True))


def _set(node: Any, epsilon: np.float32) -> bool:
    """Give a node its epsilon; whether it had another one."""
    import onnx

    there = [item for item in node.attribute if item.name == "epsilon"]
    if len(there) == 1 and np.float32(there[0].f) == epsilon:
        return False
    for item in there:
        node.attribute.remove(item)
    node.attribute.append(onnx.helper.make_attribute("epsilon", float(epsilon)))
    return True
