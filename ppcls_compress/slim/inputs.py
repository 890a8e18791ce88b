"""What a network takes: shapes, InputSpecs or tensors, nested in lists and dicts, with any other value beside them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle.static import InputSpec

from ppcls_compress.errors import UserError

Inputs = Sequence[object] | Mapping[str, object] | InputSpec | paddle.Tensor
"""One shape `[1, 3, 224, 224]`, or a list with an entry per argument of `forward`: a shape, InputSpec, tensor or array,
lists and dicts of these, or whatever else `forward` takes, as a text. A dict by itself is the only argument."""


def check_layer(model: object) -> None:
    """Refuse what is no network.

    Raises:
        UserError: it is no `paddle.nn.Layer`.
    """
    if not isinstance(model, paddle.nn.Layer):
        raise UserError(f"model: a paddle.nn.Layer is needed, found {type(model).__name__}")


def specs(inputs: Inputs) -> list[object]:
    """The arguments of `forward`, with an InputSpec for each tensor; a dimension of None or -1 becomes 1.

    Raises:
        UserError: no tensor is described.
    """
    return mapped(_arguments(inputs), _spec)


def example(inputs: Inputs, *, scale: int = 1, amplitude: float = 1.0, seed: int = 0) -> list[object]:
    """The arguments of `forward`, with a random tensor of each shape; the user's tensors are used as they are.

    Args:
        scale: height and width (the last two of four axes) are divided by it, rounded up to a multiple of 32.
        amplitude: standard deviation.

    Raises:
        UserError: no tensor is described.
    """
    rng = np.random.default_rng(seed)

    def draw(item: object) -> paddle.Tensor:
        if isinstance(item, paddle.Tensor | np.ndarray):
            return item if isinstance(item, paddle.Tensor) else paddle.to_tensor(item)
        spec = _spec(item)
        shape = list(spec.shape)
        if scale > 1 and len(shape) == 4:
            axes = (1, 2) if shape[3] in (1, 3) and shape[1] > 4 else (2, 3)
            for axis in axes:
                shape[axis] = min(shape[axis], max(1, -(-shape[axis] // (scale * 32))) * 32)
        floating = "float" in str(spec.dtype)
        values = amplitude * rng.standard_normal(shape) if floating else np.zeros(shape)
        return paddle.to_tensor(values.astype("float32" if floating else "int64")).astype(spec.dtype)

    return mapped(_arguments(inputs), draw)


def with_dtypes(inputs: Inputs, dtypes: str | Sequence[str] | None) -> Inputs:
    """Shapes turned into InputSpecs of the given dtypes, one for all or one for each; anything else as it is."""
    if dtypes is None or isinstance(inputs, Mapping) or not isinstance(inputs, list | tuple):
        return inputs
    shapes = [inputs] if is_shape(inputs) else list(inputs)
    if not all(is_shape(shape) for shape in shapes):
        return inputs
    each = [dtypes] * len(shapes) if isinstance(dtypes, str) else dtypes
    return [InputSpec(shape, dtype) for shape, dtype in zip(shapes, each, strict=True)]


def is_shape(item: object) -> bool:
    """Whether this is a list of dimensions."""
    if not isinstance(item, list | tuple) or not item:
        return False
    return all(dim is None or (isinstance(dim, int | np.integer) and not isinstance(dim, bool)) for dim in item)


def mapped(nested: object, change: Callable[[object], object]) -> object:
    """The same lists and dicts with each shape, InputSpec, tensor and array changed; what else lies in them stays."""
    if _is_leaf(nested):
        return change(nested)
    if isinstance(nested, Mapping):
        return {key: mapped(value, change) for key, value in nested.items()}
    if isinstance(nested, list | tuple):
        items = [mapped(item, change) for item in nested]
        if isinstance(nested, list):
            return items
        return type(nested)(*items) if hasattr(nested, "_fields") else tuple(items)
    return nested


def leaves(nested: object) -> list[object]:
    """What `mapped` would change, in order."""
    found: list[object] = []
    mapped(nested, lambda item: found.append(item))
    return found


def filled(nested: object, values: Iterable[object]) -> object:
    """The same lists and dicts with these values in the place of their leaves, in order."""
    following: Iterator[object] = iter(values)
    return mapped(nested, lambda _: next(following))


def tensors(nested: object) -> list[paddle.Tensor]:
    """The tensors among nested arguments or results, in order; what else lies in them is passed over."""
    return [item for item in leaves(nested) if _is_tensor(item)]


def tensors_mapped(nested: object, change: Callable[[paddle.Tensor], object]) -> object:
    """The same lists and dicts with each tensor changed."""
    return mapped(nested, lambda item: change(item) if _is_tensor(item) else item)


def tensor_paths(nested: object, path: str = "") -> dict[str, paddle.Tensor]:
    """The tensors among nested results by where they lie: `logits`, `aux[0]`; empty for a tensor by itself."""
    if _is_tensor(nested):
        return {path: nested}
    found: dict[str, paddle.Tensor] = {}
    if isinstance(nested, Mapping):
        for key, value in nested.items():
            found |= tensor_paths(value, f"{path}.{key}" if path else str(key))
    elif isinstance(nested, list | tuple):
        for index, value in enumerate(nested):
            found |= tensor_paths(value, f"{path}[{index}]")
    return found


def call(model: paddle.nn.Layer, batch: object) -> object:
    """`model(batch)`; of a list or tuple each entry is an argument of `forward`.

    Raises:
        UserError: `forward` takes another number of arguments.
    """
    if not isinstance(batch, list | tuple):
        return model(batch)
    try:
        inspect.signature(model.forward).bind(*batch)
    except TypeError as error:
        raise UserError(
            f"a batch of {len(batch)} entries does not fit {type(model).__name__}.forward: {error}; a batch is a "
            "tensor, a dict, or a list with an entry for each argument, without labels"
        ) from error
    return model(*batch)


def told(nested: object) -> str:
    """Arguments in a message: shapes in the place of tensors."""
    return str(mapped(nested, lambda item: list(item if is_shape(item) else item.shape)))


def _arguments(inputs: Inputs) -> list[object]:
    whole = isinstance(inputs, Mapping) or _is_leaf(inputs)
    arguments = [inputs] if whole else list(inputs) if isinstance(inputs, list | tuple) else []
    if not leaves(arguments):
        raise UserError(
            "inputs: expected a shape such as [1, 3, 224, 224], or a list of shapes, InputSpecs or tensors, found "
            f"{told(inputs)}"
        )
    return arguments


def _is_leaf(item: object) -> bool:
    return _is_tensor(item) or isinstance(item, InputSpec | np.ndarray) or is_shape(item)


def _is_tensor(item: object) -> bool:
    """A tensor, or what stands for one while a program is traced."""
    return isinstance(item, paddle.Tensor | paddle.pir.Value)


def _spec(item: object) -> InputSpec:
    if isinstance(item, paddle.Tensor):
        return InputSpec(item.shape, item.dtype)
    if is_shape(item):
        shape, dtype = item, "float32"
    else:
        shape, dtype = item.shape, item.dtype if isinstance(item, InputSpec) else str(item.dtype)
    return InputSpec([1 if dim is None or dim < 1 else int(dim) for dim in shape], dtype)
