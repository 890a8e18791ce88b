"""An exponential moving average of a network: of its parameters and of what its layers have observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import paddle


class MovingAverage:
    """`average = decay * average + (1 - decay) * value` after each optimizer step, for every tensor of the state.

    It is computed as a step towards the value, so that what does not change, a frozen weight say, stays what it is.
    Averages are kept apart from the model, in 32 bits where it has 16: there, a share of 0.0001 would round to nothing.
    What is not a float, a count say, is taken as it is.

    Args:
        model: its state now is what the average starts from.
        decay: share of the average that each step keeps.
    """

    def __init__(self, model: paddle.nn.Layer, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._average = {name: _wide(tensor.detach().clone()) for name, tensor in model.state_dict().items()}

    @paddle.no_grad()
    def update(self) -> None:
        """Take the model's present state in."""
        for name, tensor in self._model.state_dict().items():
            average = self._average[name]
            if tensor.is_floating_point():
                tensor = average + (1.0 - self._decay) * (_wide(tensor) - average)
            paddle.assign(tensor, average)

    def state_dict(self) -> dict[str, paddle.Tensor]:
        """The averages, by the names that the model has for them."""
        return dict(self._average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has its averages, and after it exactly what it had before."""
        trained = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        _set(self._model, self._average)
        try:
            yield
        finally:
            _set(self._model, trained)


def _wide(tensor: paddle.Tensor) -> paddle.Tensor:
    return tensor.astype("float32") if tensor.dtype in (paddle.float16, paddle.bfloat16) else tensor


def _set(model: paddle.nn.Layer, values: Mapping[str, paddle.Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        tensor.set_value(values[name].astype(tensor.dtype))
