"""Weights that a hook computes anew in every forward pass, of which quantization makes plain ones.

weight_norm (Salimans and Kingma 2016): weight = g * v / |v|. spectral_norm (Miyato et al. 2018): weight = v / sigma(v).
Batch norms can be folded into a plain weight only, and only such a one can be stored as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import paddle
from paddle.nn.utils.spectral_norm_hook import SpectralNorm
from paddle.nn.utils.weight_norm_hook import WeightNorm

from ppcls_compress.errors import UserError

_SUFFIXES = {WeightNorm: ("g", "v"), SpectralNorm: ("orig", "u", "v")}


def is_normed(layer: paddle.nn.Layer) -> bool:
    """Whether weight_norm or spectral_norm computes the weight of a layer."""
    return any(hook.name == "weight" for hook in _hooks(layer).values())


def has_weight(layer: paddle.nn.Layer) -> bool:
    """Whether the weight of a layer is its own, or can be made so, and not computed by a hook that is not known."""
    by_its_class = isinstance(getattr(type(layer), "weight", None), property)  # as in layers that are deployed
    return is_normed(layer) or by_its_class or layer._parameters.get("weight") is not None


def make_plain(layers: Iterable[paddle.nn.Layer]) -> Callable[[], None]:
    """Make the weights that norms compute parameters of their layers, in place, with the values of evaluation.

    Returns:
        A function that undoes it.
    """
    undo = [_make_plain(layer) for layer in layers if is_normed(layer)]

    def undo_all() -> None:
        for step in undo:
            step()

    return undo_all


def make_named_plain(model: paddle.nn.Layer, names: Iterable[str]) -> None:
    """As `make_plain`, for a record.

    Raises:
        UserError: there is no layer of a name.
    """
    found: Mapping[str, paddle.nn.Layer] = dict(model.named_sublayers())
    for name in names:
        if name not in found:
            raise UserError(f"the record names a layer that this model does not have: {name}")
    make_plain(found[name] for name in names)


def _hooks(layer: paddle.nn.Layer) -> dict[int, WeightNorm | SpectralNorm]:
    hooks = layer._forward_pre_hooks.items()
    return {key: hook for key, hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)}


def _make_plain(layer: paddle.nn.Layer) -> Callable[[], None]:
    (key, hook), *_ = ((key, hook) for key, hook in _hooks(layer).items() if hook.name == "weight")
    with paddle.no_grad():
        steps = {} if isinstance(hook, WeightNorm) else {"do_power_iteration": False}
        value = hook.compute_weight(layer, **steps)
    stores = (layer._parameters, layer._buffers)
    before = [dict(store) for store in stores]
    source = layer._parameters["weight_v" if isinstance(hook, WeightNorm) else "weight_orig"]
    delattr(layer, "weight")
    layer._non_persistable_buffer_names_set.discard("weight")
    for suffix in _SUFFIXES[type(hook)]:
        for store in stores:
            store.pop(f"weight_{suffix}", None)
    attributes = paddle.ParamAttr(
        learning_rate=source.optimize_attr["learning_rate"],
        regularizer=source.regularizer,
        trainable=source.trainable,
        initializer=paddle.nn.initializer.Assign(value),
    )
    layer.add_parameter("weight", layer.create_parameter(value.shape, attributes, dtype=value.dtype))
    del layer._forward_pre_hooks[key]

    def undo() -> None:
        del layer._parameters["weight"]
        for store, entries in zip(stores, before, strict=True):
            store.clear()
            store.update(entries)
        layer._non_persistable_buffer_names_set.add("weight")
        layer._forward_pre_hooks[key] = hook

    return undo
