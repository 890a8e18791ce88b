"""Where a network begins to compute what is not a number."""

from __future__ import annotations

from collections.abc import Callable

import paddle


def not_finite(tensors: dict[str, paddle.Tensor]) -> list[str]:
    """The names of those that hold a NaN or an infinity; the device is waited for once."""
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floats:
        return []
    fine = paddle.stack([paddle.isfinite(tensor).all() for tensor in floats.values()]).numpy()
    return [name for name, is_fine in zip(floats, fine, strict=True) if not is_fine]


def first_not_finite(model: paddle.nn.Layer, images: paddle.Tensor) -> str:
    """The first layer, in the order of execution, with a NaN or infinity in its parameters or its output.

    The model keeps its mode: in training, batch norms and quantizers compute other values than in evaluation.
    """
    found: list[str] = []
    handles = []
    for name, layer in model.named_sublayers():
        # A layer with layers inside says nothing that they do not, unless it computes with parameters of its own.
        if not list(layer.children()) or layer.parameters(include_sublayers=False):
            handles.append(layer.register_forward_pre_hook(_parameters_of(name, found)))
            handles.append(layer.register_forward_post_hook(_output_of(name, found)))
    was_training = model.training
    if paddle.distributed.get_world_size() > 1:
        model.eval()  # a batch norm across processes would wait for the others
    try:
        with paddle.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
        if was_training:
            model.train()
    return found[0] if found else "none in this batch (the loss itself overflowed)"


def _parameters_of(name: str, found: list[str]) -> Callable[[paddle.nn.Layer, object], None]:
    """Looks before the layer computes: quantizers inside it are handed its weight, and would be named instead."""

    def look(layer: paddle.nn.Layer, inputs: object) -> None:
        if not found:
            broken = not_finite(dict(layer.named_parameters(include_sublayers=False)))
            found.extend(f"{name} (its parameter {key})" for key in broken)

    return look


def _output_of(name: str, found: list[str]) -> Callable[[paddle.nn.Layer, object, object], None]:
    def look(layer: paddle.nn.Layer, inputs: object, output: object) -> None:
        if not found and isinstance(output, paddle.Tensor) and not bool(paddle.isfinite(output).all()):
            found.append(f"{name} (its output)")

    return look
