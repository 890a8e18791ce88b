"""Ranges of tensors that training does not learn, from calibration images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.onnx.graph import add_constant, insert_after, sweep, to_proto
from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.quant import quant_layers

_NEEDED = "calibration images are needed: the integer graph rounds tensors whose range training does not learn"
_EXTREMES = {"ReduceMin": "smallest", "ReduceMax": "largest"}
_SIGNS = [-1, 1]
_BUT_CHANNELS = [0, 2, 3]
_AXES_ARE_INPUTS = 18  # from this operator set on


def observe(
    model: ir.Model, names: Sequence[str], batches: Iterable[np.ndarray], by_channel: Collection[str] = ()
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The smallest and the largest value of tensors over some images, by ONNX Runtime.

    Args:
        model: its output is given up for those values.
        names: tensors inside it.
        batches: float32 [N, C, H, W] each; a few hundred images are enough.
        by_channel: those of the tensors, [N, C, H, W], whose channels are looked at one by one.

    Returns:
        By name, float64 [1] each, or [C].

    Raises:
        UserError: no batch, or a value that is not finite.
    """
    if not names:
        return {}
    session, image = _session(model, names, by_channel), model.graph.inputs[0].name
    found: list[np.ndarray] | None = None
    for batch in batches:
        if not np.isfinite(batch).all():
            raise UserError("calibration images: a value is not finite")
        # In pairs, the smallest with its sign turned, so that the larger one counts of all.
        values = [
            sign * value.astype(np.float64)
            for sign, value in zip(_SIGNS * len(names), session.run(None, {image: batch}), strict=True)
        ]
        found = values if found is None else [np.maximum(old, new) for old, new in zip(found, values, strict=True)]
    if found is None:
        raise UserError(f"{_NEEDED}; found none")
    extremes = {
        name: (-found[2 * index].reshape(-1), found[2 * index + 1].reshape(-1)) for index, name in enumerate(names)
    }
    for name, ends in extremes.items():
        if not np.isfinite(ends).all():
            raise UserError(f"{name}: not finite on the calibration images; the weights are broken")
    return extremes


def _session(model: ir.Model, names: Sequence[str], by_channel: Collection[str]) -> Any:
    """Gives the smallest and the largest value of each tensor, in the order of the names."""
    import onnxruntime

    values = ir.convenience.create_value_mapping(model.graph)
    model.graph.outputs.clear()
    for name in names:
        inputs, axes = [values[name]], {}
        if name in by_channel and model.graph.opset_imports[""] < _AXES_ARE_INPUTS:
            axes = {"axes": _BUT_CHANNELS}
        elif name in by_channel:
            inputs.append(add_constant(model.graph, f"{name}.axes", np.array(_BUT_CHANNELS, np.int64)))
        for op, extreme in _EXTREMES.items():
            output = insert_after(values[name], op, inputs, f"{name}.{extreme}", keepdims=0, **axes)
            output.type = ir.TensorType(ir.DataType.FLOAT)
            output.shape = ir.Shape([None] if name in by_channel else [])
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
