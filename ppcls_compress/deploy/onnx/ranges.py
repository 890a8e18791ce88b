"""Ranges of tensors that training does not learn, from calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.onnx.graph import insert_after, sweep, to_proto
from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.quant import quant_layers

_NEEDED = "calibration images are needed: the integer graph rounds tensors whose range training does not learn"
_EXTREMES = {"ReduceMin": "smallest", "ReduceMax": "largest"}


def observe(model: ir.Model, names: Sequence[str], batches: Iterable[np.ndarray]) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of tensors over some images, by ONNX Runtime.

    Args:
        model: its output is given up for those values.
        names: tensors inside it.
        batches: float32 [N, C, H, W] each; a few hundred images are enough.

    Raises:
        UserError: no batch, or a value that is not finite.
    """
    if not names:
        return {}
    session, image = _session(model, names), model.graph.inputs[0].name
    extremes = []
    for batch in batches:
        if not np.isfinite(batch).all():
            raise UserError("calibration images: a value is not finite")
        extremes.append(session.run(None, {image: batch}))
    if not extremes:
        raise UserError(f"{_NEEDED}; found none")
    values = np.asarray(extremes, np.float64).reshape(len(extremes), len(names), 2)
    for name, finite in zip(names, np.isfinite(values).all(axis=(0, 2)), strict=True):
        if not finite:
            raise UserError(f"{name}: not finite on the calibration images; the weights are broken")
    low, high = values[..., 0].min(axis=0), values[..., 1].max(axis=0)
    return {name: (float(low[index]), float(high[index])) for index, name in enumerate(names)}


def _session(model: ir.Model, names: Sequence[str]) -> Any:
    """Gives the smallest and the largest value of each tensor, in the order of the names."""
    import onnxruntime

    values = ir.convenience.create_value_mapping(model.graph)
    model.graph.outputs.clear()
    for name in names:
        for op, extreme in _EXTREMES.items():
            output = insert_after(values[name], op, [values[name]], f"{name}.{extreme}", keepdims=0)
            output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
            model.graph.outputs.append(output)
    sweep(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def input_magnitudes(
    model: paddle.nn.Layer, layers: Sequence[str], batches: Iterable[np.ndarray] | None
) -> dict[str, float]:
    """The largest magnitude that quantized layers read, for those that find their range anew for each batch.

    Raises:
        UserError: there are such layers and no images.
    """
    if not layers:
        return {}
    largest = dict.fromkeys(layers, 0.0)
    found = quant_layers(model)

    def hook_for(name: str) -> Callable[..., None]:
        def look(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, object]) -> None:
            largest[name] = max(largest[name], float(layer.arguments(inputs, named)[0].abs().max()))

        return look

    hooks = [found[name].register_forward_pre_hook(hook_for(name), with_kwargs=True) for name in layers]
    try:
        with inference_mode(model):
            for batch in batches or ():
                model(paddle.to_tensor(batch))
    finally:
        for hook in hooks:
            hook.remove()
    unseen = [name for name, value in largest.items() if value <= 0]
    if unseen:
        raise UserError(f"{', '.join(unseen[:5])}: the range is found anew for each batch; {_NEEDED}")
    return largest


def needed() -> UserError:
    """What to raise when there are no images at all."""
    return UserError(_NEEDED)
