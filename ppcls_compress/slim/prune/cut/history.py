"""What was done to a network, and the way back to the bits that it had before."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune.cut.surgery import Surgery, check_states, states_of


class History:
    """The surgeries on a network since it was dense.

    What a surgery replaces it keeps. What it does not touch may be trained before `restore`, so of that a copy in the
    host's memory is taken at the first surgery: parameters, buffers, and what the optimizer remembers of them. Both
    together are what the dense network and its optimizer hold, once.
    """

    def __init__(self, model: nn.Layer) -> None:
        self.model = model
        self._done: list[Surgery] = []
        self._copies: dict[int, tuple[paddle.Tensor, np.ndarray]] = {}

    def remember(self, surgery: Surgery, optimizer: paddle.optimizer.Optimizer | None = None) -> None:
        """Notes what was done, before anything is trained."""
        self._done.append(surgery)
        known = self._shapes()
        for tensor in self._tensors(optimizer):
            if id(tensor) not in known and tensor._is_initialized():  # what holds no values yet, as an LSTM's buffer
                self._copies[id(tensor)] = (tensor, tensor.numpy())

    def undo_last(self) -> None:
        """Undoes what was noted last, and nothing that was trained since."""
        self._done.pop().undo()
        if not self._done:
            self._copies.clear()

    def restore(self, optimizer: paddle.optimizer.Optimizer | None = None) -> None:
        """Undoes everything and puts the copies back. Warns of an optimizer that started in between.

        Raises:
            UserError: something else has cut the network meanwhile; nothing is undone then.
        """
        shapes = self._shapes()
        for tensor, shape in shapes.values():
            if list(tensor.shape) != shape:
                raise UserError(
                    f"{tensor.name} is {list(tensor.shape)} and not {shape}: another pruner has changed the network "
                    "since; restore its plans first"
                )
        while self._done:
            self._done.pop().undo()
        for tensor, copy in self._copies.values():
            tensor.set_value(copy)
        self._copies.clear()
        if shapes and optimizer is not None:
            self._check(optimizer, set(shapes))

    def _check(self, optimizer: paddle.optimizer.Optimizer, known: set[int]) -> None:
        try:
            check_states(optimizer, self.model.parameters())
            new = next((tensor for tensor in states_of(optimizer, self.model) if id(tensor) not in known), None)
            if new is None:
                return
            misfit = f"the optimizer's {new.name} was not there before"
        except UserError as error:
            misfit = str(error)
        warnings.warn(f"{misfit}: it started on the pruned one, make a new optimizer", stacklevel=4)

    def _tensors(self, optimizer: paddle.optimizer.Optimizer | None) -> Iterator[paddle.Tensor]:
        yield from self.model.parameters()
        yield from self.model.buffers()
        if optimizer is not None:
            yield from states_of(optimizer, self.model)

    def _shapes(self) -> dict[int, tuple[paddle.Tensor, list[int]]]:
        """The tensors that are kept or copied, each by its identity and with the shape that it was left with."""
        found = {key: (tensor, list(copy.shape)) for key, (tensor, copy) in self._copies.items()}
        for surgery in self._done:
            found.update(surgery.shapes())
        return found
