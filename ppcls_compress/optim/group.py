"""Several optimizers, each for parameters of its own, that act as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paddle


class OptimizerGroup:
    """Steps all of its optimizers at once; the state is a dictionary of theirs, by position.

    Attributes:
        members: in the order of the configuration.
        untrained: parameters that none of them trains, by structured name.
    """

    def __init__(
        self, members: Sequence[paddle.optimizer.Optimizer], untrained: Mapping[str, paddle.Tensor] | None = None
    ) -> None:
        self.members = tuple(members)
        self.untrained = dict(untrained or {})

    def step(self) -> None:
        """One step of each."""
        for member in self.members:
            member.step()

    def clear_grad(self, set_to_zero: bool = True) -> None:
        """Forget all gradients, also those of parameters that nothing trains."""
        for member in self.members:
            member.clear_grad(set_to_zero=set_to_zero)
        for parameter in self.untrained.values():
            parameter.clear_gradient(set_to_zero)  # Paddle does not see the keyword

    def get_lr(self) -> float:
        """The first one's."""
        return self.members[0].get_lr()

    def state_dict(self) -> dict[str, Any]:
        """Position, as text, to the state there."""
        return {str(index): member.state_dict() for index, member in enumerate(self.members)}


def members_of(optimizer: paddle.optimizer.Optimizer | OptimizerGroup) -> tuple[paddle.optimizer.Optimizer, ...]:
    """The optimizers that an optimizer is made of."""
    return optimizer.members if isinstance(optimizer, OptimizerGroup) else (optimizer,)
