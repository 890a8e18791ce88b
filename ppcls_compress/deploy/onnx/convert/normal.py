"""What converters write in different ways, written in one."""

from __future__ import annotations

from typing import Any

BATCH = "batch"
"""The name of the free dimension."""


def normalize(model: Any) -> None:
    """Bring an `onnx.ModelProto` into the common form, in place: the batch size has a name, flattening is `Flatten`."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_param = BATCH
    _name_flattening(model)


def _name_flattening(model: Any) -> None:
    """Reshape(x, [0, -1]) -> Flatten(x): the first dimension stays, the others become one."""
    import onnx

    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        sizes = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if sizes is not None and onnx.numpy_helper.to_array(sizes).tolist() == [0, -1]:
            node.op_type = "Flatten"
            del node.input[1:], node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("axis", 1))
