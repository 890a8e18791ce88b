"""Fold batch norms into the convolutions before them.

In evaluation batch norm is y = (x - mean) / sqrt(variance + epsilon) * gamma + beta per channel, so with
factor = gamma / sqrt(variance + epsilon): weight <- weight * factor, bias <- (bias - mean) * factor + beta.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppcls_compress.errors import UserError, first_line, shortened, unknown
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.position import first_unsteady, position
from ppcls_compress.slim.quant import layers, normed
from ppcls_compress.slim.quant.images import image_shape

NORMS = (paddle.nn.BatchNorm, paddle.nn.BatchNorm2D, paddle.nn.SyncBatchNorm)
# What `paddle.nn.BatchNorm(act=...)` computes after itself, as a layer that computes the same.
_ACTIVATIONS = {
    None: paddle.nn.Identity,
    "hard_swish": paddle.nn.Hardswish,
    "relu": paddle.nn.ReLU,
    "relu6": paddle.nn.ReLU6,
    "sigmoid": paddle.nn.Sigmoid,
    "swish": paddle.nn.Swish,
    "tanh": paddle.nn.Tanh,
}
# Far above float rounding, far below what a batch norm folded into the wrong convolution changes.
_TOLERANCE = 1e-3


def fold_batch_norms(model: paddle.nn.Layer, inputs: Inputs | None = None) -> list[tuple[str, str]]:
    """Fold every batch norm that reads a convolution's output, and nothing else does, in place.

    The network is run to see what reads what, and again to check that it still computes the same; what would change it
    is left as it is, with a warning.

    Args:
        model: changed in place: convolutions get a bias, folded norms become identities, or the activation that they
            compute.
        inputs: shapes, InputSpecs or tensors, one per argument of `forward`; left out, images are tried.

    Returns:
        (convolution, batch norm) names.

    Raises:
        UserError: the network does not run on the inputs, or answers differently each time; it is unchanged.
    """
    example = describing.example(image_shape(model) if inputs is None else inputs)
    return fold_running(model, lambda: model(*example), f"inputs of {describing.told(example)}")


def fold_running(model: paddle.nn.Layer, run: Callable[[], object], what: str) -> list[tuple[str, str]]:
    """As `fold_batch_norms`, for a network that is run by a call.

    Args:
        run: a forward pass.
        what: it is run on, for messages.
    """
    with layers.evaluating(model), paddle.no_grad():
        before, pairs = _traced(model, run, what)
        while pairs:
            undo = fold_pairs(model, pairs)
            if _same(before, arrays(run())):
                return pairs
            undo()
            pairs = _without_those_that_differ(model, run, before, pairs)
    return pairs


def _traced(
    model: paddle.nn.Layer, run: Callable[[], object], what: str
) -> tuple[list[np.ndarray], list[tuple[str, str]]]:
    with position(model) as where:
        try:
            return _trace(model, run)
        except UserError:
            raise
        except Exception as error:  # whatever the user's network raises on a shape that it does not take
            raise UserError(
                f"folding batch norms runs the model once, and it does not run on {what}; give the shapes that it "
                f"takes as `inputs`, or do not fold ({where()}: {first_line(error)})"
            ) from error


def _without_those_that_differ(
    model: paddle.nn.Layer, run: Callable[[], object], before: Sequence[np.ndarray], pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The pairs that change nothing when they are folded alone, and a warning about the others.

    Raises:
        UserError: the network answers differently each time, so that nothing can be compared; or only all pairs
            together change it.
    """
    unsteady = first_unsteady(model, run)
    if unsteady is not None:
        raise UserError(
            f"folding batch norms cannot be checked: {unsteady} gives other numbers each time, in evaluation too; "
            "leave the randomness out there, or do not fold"
        )
    kept = []
    for conv, norm in pairs:
        undo = fold_pairs(model, [(conv, norm)])
        if _same(before, arrays(run())):
            kept.append((conv, norm))
        else:
            warnings.warn(
                f"{norm} is not folded into {conv}: the network uses what {conv} gives in another way too", stacklevel=4
            )
        undo()
    if len(kept) == len(pairs):
        raise UserError(f"folding {', '.join(norm for _, norm in pairs[:5])} together changes the output; do not fold")
    return kept


def _same(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> bool:
    difference, size = change(before, after)
    return bool(difference <= _TOLERANCE * size)


def foldable_pairs(model: paddle.nn.Layer, example: Sequence[Any]) -> list[tuple[str, str]]:
    """(convolution, batch norm) names where the norm reads a convolution's output, and no other norm does.

    Args:
        model: any network, quantized or not; not changed.
        example: the arguments of `forward`.
    """
    with layers.evaluating(model), paddle.no_grad():
        return _trace(model, lambda: model(*example))[1]


def fold_pairs(model: paddle.nn.Layer, pairs: Sequence[Sequence[str]]) -> Callable[[], None]:
    """Fold the named batch norms into the named convolutions, in place.

    Returns:
        A function that undoes it.

    Raises:
        UserError: a name does not exist, the two are no convolution and a batch norm of its channels, one of them is
            in two pairs, or the norm computes an activation that has no layer of its own.
    """
    found = dict(model.named_sublayers())
    for index, pair in enumerate(pairs):
        _check_pair(found, pair, pairs[:index])
    renew = normed.make_plain(found[name] for name, _ in pairs)
    convs = {name: copy.deepcopy(found[name].state_dict()) for name, _ in pairs}
    remainders = {name: remainder(found[name], name) for _, name in pairs}
    for conv, norm in pairs:
        _fold(found[conv], found[norm])
    layers.replace(model, {id(found[name]): left for name, left in remainders.items()})

    def undo() -> None:
        layers.replace(model, {id(left): found[name] for name, left in remainders.items()})
        for name, state in convs.items():
            if "bias" not in state:
                found[name].bias = None
            found[name].set_state_dict(state)
        renew()

    return undo


def _check_pair(found: Mapping[str, paddle.nn.Layer], pair: Any, earlier: Sequence[Sequence[str]]) -> None:
    names = pair if isinstance(pair, list | tuple) else ()
    if len(names) != 2 or not all(isinstance(name, str) for name in names):
        raise UserError(f"a pair [convolution, batch norm] to fold is needed, found {shortened(pair)}")
    for name in names:
        if name not in found:
            raise UserError(f"{unknown('layer', name, found)}; there is none to fold")
        if any(name in other for other in earlier):
            raise UserError(f"{name} is in two pairs to fold")
    conv, norm = (found[name] for name in names)
    for name, layer, fits, wanted in ((names[0], conv, _takes_norm, "convolution"), (names[1], norm, _is_norm, "norm")):
        if not fits(layer):
            kind = type(layer).__name__
            raise UserError(
                f"{list(pair)}: {name} is a {kind}; a pair is [convolution, batch norm], this is no {wanted}"
            )
    if conv._out_channels != norm._mean.size:
        raise UserError(
            f"{list(pair)}: {names[0]} has {conv._out_channels} channels, {names[1]} normalizes {norm._mean.size}"
        )


def _is_norm(layer: paddle.nn.Layer) -> bool:
    return isinstance(layer, NORMS)


def _takes_norm(layer: paddle.nn.Layer) -> bool:
    """A convolution whose weight is a parameter, or can be made one, with the output channels along one axis."""
    grouped_transpose = isinstance(layer, paddle.nn.Conv2DTranspose) and layer._groups > 1
    convolution = isinstance(layer, paddle.nn.Conv2D | paddle.nn.Conv2DTranspose) and not grouped_transpose
    return convolution and normed.has_weight(layer)


def remainder(norm: paddle.nn.Layer, name: str) -> paddle.nn.Layer:
    """What is left of a batch norm once it is folded: its activation, or an identity.

    Raises:
        UserError: the activation has no layer of its own.
    """
    kind = getattr(norm, "_act", None)
    if kind not in _ACTIVATIONS:
        raise UserError(f"{name}: a batch norm with the activation {kind} cannot be folded")
    return _ACTIVATIONS[kind]()


def change(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> tuple[float, float]:
    """The largest difference between two outputs of a network, and the largest magnitude of the first."""
    difference = max((np.abs(new - old).max() for new, old in zip(after, before, strict=True)), default=0.0)
    return difference, max((np.abs(old).max() for old in before), default=0.0)


def affine(norm: paddle.nn.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Factor and shift per channel, float64, that a batch norm is in evaluation: y = x * factor + shift."""
    mean, variance = (tensor.numpy().astype(np.float64) for tensor in (norm._mean, norm._variance))
    gamma = 1.0 if norm.weight is None else norm.weight.numpy().astype(np.float64)
    beta = 0.0 if norm.bias is None else norm.bias.numpy().astype(np.float64)
    factor = gamma / np.sqrt(variance + norm._epsilon)
    return factor, beta - mean * factor


def _fold(conv: paddle.nn.Layer, norm: paddle.nn.Layer) -> None:
    if conv.bias is None:
        layers.add_bias(conv)
    weight, bias = (tensor.numpy().astype(np.float64) for tensor in (conv.weight, conv.bias))
    factor, shift = affine(norm)
    transposed = isinstance(conv, paddle.nn.Conv2DTranspose)
    shape = [1, -1, 1, 1] if transposed else [-1, 1, 1, 1]
    conv.weight.set_value((weight * factor.reshape(shape)).astype(np.float32))
    conv.bias.set_value((bias * factor + shift).astype(np.float32))


def _trace(model: paddle.nn.Layer, run: Callable[[], object]) -> tuple[list[np.ndarray], list[tuple[str, str]]]:
    """Outputs, and the pairs whose norm reads the very tensor that the convolution put out."""
    made: dict[int, list[str]] = {}
    read: dict[str, list[int]] = {}
    calls: dict[str, int] = {}
    kept, hooks = [], []

    def after_conv(name: str):
        def hook(layer: paddle.nn.Layer, inputs: tuple, output: paddle.Tensor) -> None:
            kept.append(output)
            made.setdefault(id(output), []).append(name)
            calls[name] = calls.get(name, 0) + 1

        return hook

    def before_norm(name: str):
        def hook(layer: paddle.nn.Layer, inputs: tuple, named: dict[str, Any]) -> None:
            tensor, *_ = (*inputs, *named.values())
            kept.append(tensor)  # or another tensor could get its id
            read.setdefault(name, []).append(id(tensor))

        return hook

    for name, layer in model.named_sublayers():
        if _takes_norm(layer):
            hooks.append(layer.register_forward_post_hook(after_conv(name)))
        elif _is_norm(layer) and getattr(layer, "_act", None) in _ACTIVATIONS:
            hooks.append(layer.register_forward_pre_hook(before_norm(name), with_kwargs=True))
    try:
        outputs = arrays(run())
    finally:
        for hook in hooks:
            hook.remove()
    readers: dict[int, int] = {}
    for tensors in read.values():
        for tensor in tensors:
            readers[tensor] = readers.get(tensor, 0) + 1
    pairs = []
    for norm, tensors in read.items():
        if len(tensors) == 1 and readers[tensors[0]] == 1 and tensors[0] in made:
            (conv,) = made[tensors[0]]
            if calls[conv] == 1:
                pairs.append((conv, norm))
    return outputs, pairs


def arrays(output: object) -> list[np.ndarray]:
    """A network's output, a tensor or some in lists and dicts, as arrays in order."""
    return [tensor.numpy() for tensor in describing.tensors(output)]
