"""Changing live parameters, optimizer states and layer attributes, with the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import reduce
from math import prod
from operator import mul

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune.trace.declared import sizes_of

Kept = Mapping[str, Mapping[int, np.ndarray]]
"""Structured parameter name -> axis -> indices that stay, ascending."""


class _Content:
    """The content of a live tensor, exchanged with another one's. Storage is shared, never copied."""

    def __init__(self, tensor: paddle.Tensor, new: paddle.Tensor) -> None:
        self.tensor = tensor
        self.other = new
        self.shape = list(new.shape)

    def swap(self) -> None:
        current = _sharing(self.tensor)
        self.tensor.get_tensor()._share_data_with(self.other.get_tensor())
        self.other = current


class _Attribute:
    """The value of an attribute, exchanged with another one."""

    def __init__(self, owner: object, name: str, value: object) -> None:
        self.owner, self.name, self.other = owner, name, value

    def swap(self) -> None:
        current = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.other)
        self.other = current


class _Item:
    """An entry of a mapping, exchanged with another one."""

    def __init__(self, mapping: MutableMapping[str, object], key: str, value: object) -> None:
        self.mapping, self.key, self.other = mapping, key, value

    def swap(self) -> None:
        if self.key in self.mapping:  # an optimizer takes entries out when it uses them
            self.mapping[self.key], self.other = self.other, self.mapping[self.key]


def _sharing(tensor: paddle.Tensor) -> paddle.Tensor:
    """A tensor object of its own over the same storage, unaffected when the other is given new content."""
    holder = paddle.empty([1], dtype=tensor.dtype)
    holder.get_tensor()._share_data_with(tensor.get_tensor())
    return holder


class Surgery:
    """Reversible changes to a model."""

    def __init__(self) -> None:
        self._changes: list[_Content | _Attribute | _Item] = []

    def undo(self) -> None:
        """Puts everything back, last change first; gradients of other shapes go."""
        while self._changes:
            change = self._changes.pop()
            change.swap()
            gradient = change.tensor.grad if isinstance(change, _Content) else None
            if gradient is not None and list(gradient.shape) != list(change.tensor.shape):
                change.tensor.clear_gradient(set_to_zero=False)

    def shapes(self) -> dict[int, tuple[paddle.Tensor, list[int]]]:
        """The tensors that were given new content, each by its identity and with the shape it was left with."""
        contents = [change for change in self._changes if isinstance(change, _Content)]
        return {id(change.tensor): (change.tensor, change.shape) for change in contents}

    def drop_gradients(self) -> None:
        """Gradients have the shapes from before; the next backward pass makes new ones."""
        for change in self._changes:
            if isinstance(change, _Content) and not change.tensor.stop_gradient:
                change.tensor.clear_gradient(set_to_zero=False)

    def replace(self, tensor: paddle.Tensor, new: paddle.Tensor) -> None:
        """Gives a live tensor new content, possibly of another shape, in place; `new` is nobody else's."""
        self._do(_Content(tensor, new))

    def refill(self, tensor: paddle.Tensor, values: Sequence[int] | np.ndarray) -> None:
        """Gives a live tensor these numbers, in its own type and place."""
        self.replace(tensor, paddle.to_tensor(values, dtype=tensor.dtype, place=tensor.place))

    def set_attribute(self, owner: object, name: str, value: object) -> None:
        """`owner.name = value`."""
        self._do(_Attribute(owner, name, value))

    def set_item(self, mapping: MutableMapping[str, object], key: str, value: object) -> None:
        """`mapping[key] = value`, for a key that is there."""
        self._do(_Item(mapping, key, value))

    def _do(self, change: _Content | _Attribute | _Item) -> None:
        change.swap()
        self._changes.append(change)

    def shrink(self, tensors: Mapping[str, paddle.Tensor], kept: Kept) -> None:
        """Takes the kept indices of every listed parameter axis."""
        with paddle.no_grad():
            for name, axes in kept.items():
                self.replace(tensors[name], take(tensors[name], axes))

    def mask(self, tensors: Mapping[str, paddle.Tensor], kept: Kept) -> None:
        """Zeroes everything but the kept indices on every listed parameter axis; shapes stay."""
        with paddle.no_grad():
            for name, axes in kept.items():
                columns = [_column(indices, tensors[name], axis) for axis, indices in axes.items()]
                self.replace(tensors[name], tensors[name] * reduce(mul, columns))

    def shrink_states(
        self,
        optimizer: paddle.optimizer.Optimizer,
        tensors: Mapping[str, paddle.Tensor],
        kept: Kept,
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        """Shrinks what an optimizer remembers of the parameters, a loaded state that waits for its first step included.

        Args:
            shapes: of the parameters right before they were cut.

        Raises:
            UserError: the optimizer holds something of another shape about one of the parameters.
        """
        inner = getattr(optimizer, "_inner_opt", optimizer)
        waiting = _waiting(inner, {tensor.name for tensor in tensors.values()})
        with paddle.no_grad():
            for name, axes in kept.items():
                parameter, shape = tensors[name].name, list(shapes[name])
                for label, state in _states(inner, parameter):
                    if (cut := _taken(state, axes, shape, f"{label} of {parameter}")) is not None:
                        self.replace(state, cut)
                for label in waiting.get(parameter, []):
                    state = inner._accumulators_holder[label]
                    state = state if isinstance(state, paddle.Tensor) else paddle.to_tensor(state)
                    if (cut := _taken(state, axes, shape, label)) is not None:
                        self.set_item(inner._accumulators_holder, label, cut)


def check_states(optimizer: paddle.optimizer.Optimizer, tensors: Iterable[paddle.Tensor]) -> None:
    """Whether what an optimizer remembers of the parameters has their shapes.

    Raises:
        UserError: it has not; Paddle's operators would read past its end.
    """
    inner = getattr(optimizer, "_inner_opt", optimizer)
    for tensor in tensors:
        for label, state in _states(inner, tensor.name):
            _taken(state, {}, tensor.shape, f"{label} of {tensor.name}")


def states_of(optimizer: paddle.optimizer.Optimizer, model: nn.Layer) -> Iterator[paddle.Tensor]:
    """The accumulators, powers of beta and master weights of a network's parameters."""
    inner = getattr(optimizer, "_inner_opt", optimizer)
    for parameter in model.parameters():
        yield from (state for _, state in _states(inner, parameter.name))


def _states(optimizer: paddle.optimizer.Optimizer, parameter: str) -> Iterator[tuple[str, paddle.Tensor]]:
    """The accumulators and the master weight of a parameter, with names for them."""
    master = optimizer._master_weights.get(parameter)
    names = {parameter} if master is None else {parameter, master.name}
    if master is not None:
        yield "master weight", master
    for label, accumulators in optimizer._accumulators.items():
        for name in sorted(names & set(accumulators)):
            yield label, accumulators[name]


def _waiting(optimizer: paddle.optimizer.Optimizer, parameters: set[str]) -> dict[str, list[str]]:
    """Parameter -> its entries, `<parameter>_velocity_0`, in a loaded state of which accumulators will be made."""
    made = {tensor.name for accumulators in optimizer._accumulators.values() for tensor in accumulators.values()}
    found: dict[str, list[str]] = {}
    for label in optimizer._accumulators_holder:
        owner = label.rpartition("_")[0]
        while owner and owner not in parameters:
            owner = owner.rpartition("_")[0]
        if owner and label not in made:
            found.setdefault(owner, []).append(label)
    return found


def _taken(
    state: paddle.Tensor, axes: Mapping[int, np.ndarray], shape: Sequence[int], label: str
) -> paddle.Tensor | None:
    """The kept positions of what is remembered of a parameter, or of several of its shape (ASGD's `ys`).

    None for a single number, as Adam's powers of beta.
    """
    extra = len(state.shape) - len(shape)
    if extra >= 0 and list(state.shape[extra:]) == list(shape):
        return take(state, {axis + extra: indices for axis, indices in axes.items()})
    if prod(state.shape) == 1:
        return None
    raise UserError(f"the optimizer's {label} is {list(state.shape)}, its parameter {list(shape)}: not of this network")


def view(tensor: paddle.Tensor) -> np.ndarray | None:
    """The tensor's storage as a read-only array, not copied; None where NumPy has no access: on a GPU, of bfloat16.

    The view keeps the storage alive and stays with it when the tensor is given new content.
    """
    if not tensor.place.is_cpu_place() or "bfloat16" in str(tensor.dtype):
        return None
    array = np.from_dlpack(tensor.detach())
    array.flags.writeable = False
    return array


def take(tensor: paddle.Tensor, axes: Mapping[int, np.ndarray]) -> paddle.Tensor:
    """The kept positions along the given axes, in a tensor of its own."""
    array = view(tensor)
    if array is None:
        for axis, indices in axes.items():
            tensor = paddle.index_select(tensor, paddle.to_tensor(indices, dtype="int64", place=tensor.place), axis)
        return tensor
    for axis, indices in axes.items():  # ten times as fast as Paddle's operator
        array = array.take(indices, axis=axis)
    return paddle.to_tensor(array, place=tensor.place)


def _column(indices: np.ndarray, like: paddle.Tensor, axis: int) -> paddle.Tensor:
    shape = [1] * len(like.shape)
    shape[axis] = like.shape[axis]
    column = np.zeros(shape[axis], dtype="float32")
    column[indices] = 1
    return paddle.to_tensor(column.reshape(shape), place=like.place).astype(like.dtype)


def refresh_sizes(surgery: Surgery, layers: Mapping[str, nn.Layer]) -> list[list[object]]:
    """Brings the sizes that Paddle's layers remember up to date; returns [layer path, attribute, new value] each."""
    changes = []
    for path, layer in layers.items():
        for name, value in sizes_of(layer).items():
            if _plain(getattr(layer, name)) != value:
                surgery.set_attribute(layer, name, value)
                changes.append([path, name, value])
    return changes


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
