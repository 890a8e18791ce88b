"""What converters write in different ways, written in one."""

from __future__ import annotations

from typing import Any

BATCH = "batch"
"""The name of the free dimension."""


def normalize(model: Any) -> None:
    """Bring an `onnx.ModelProto` into the common form, in place: the batch size has a name."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_param = BATCH
