"""The `Optimizer` section under PaddleClas' keys: which optimizer, its learning rate, what decays.

A new one: a class with its options and `build`, decorated with `@OPTIMIZERS.declare`. Paddle is imported where
something is built, so that a configuration is checked without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ppcls_compress.declare import Declarations, NonNegative, Number, Options, Positive, named
from ppcls_compress.optim.schedules import SCHEDULES

if TYPE_CHECKING:
    import paddle

Fraction = Annotated[Number, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Trained:
    """What an optimizer is built for.

    Attributes:
        parameters: in the order of the model.
        bare: Paddle's names of those without weight decay.
        own: Paddle's names of those that carry a regularizer of their own, which takes precedence.
        shared: arguments that every optimizer of Paddle takes: learning rate, gradient clipping.
    """

    parameters: Sequence[paddle.Tensor]
    bare: frozenset[str]
    own: frozenset[str]
    shared: dict[str, Any]


class Optimizer(Options):
    """What all optimizers have.

    Attributes:
        moment: the state that Paddle keeps for each trained parameter, by which a checkpoint is recognised as this
            optimizer's; None where there is none.
    """

    moment: ClassVar[str | None] = None

    lr: named(SCHEDULES, default="Constant", example="{name: Cosine, learning_rate: 0.01}")
    clip_norm: Positive | None = Field(default=None, description="largest L2 norm of each parameter's gradient")
    multi_precision: bool = False
    no_weight_decay_name: str | None = Field(default=None, description="parts of parameter names, separated by spaces")
    one_dim_param_no_weight_decay: bool = False

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's optimizer of these parameters."""
        raise TypeError(f"{type(self).__name__} has no build of its own")


OPTIMIZERS: Declarations[Optimizer] = Declarations("optimizer")


class Regularizer(Options):
    """L2 regularization: `coeff` times the weight is added to its gradient."""

    example: ClassVar = "{name: L2, coeff: 0.0001}"

    name: Literal["L2"] = "L2"
    coeff: NonNegative


@OPTIMIZERS.declare
class Momentum(Optimizer):
    """Stochastic gradient descent with momentum; weight decay by `regularizer`."""

    moment: ClassVar = "velocity"

    momentum: Fraction = 0.9
    use_nesterov: bool = False
    regularizer: Regularizer | None = None

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `Momentum`; a regularizer of nothing keeps the decay from the bare parameters."""
        import paddle

        for parameter in trained.parameters:
            if parameter.name in trained.bare:
                parameter.regularizer = paddle.regularizer.L2Decay(0.0)
        return paddle.optimizer.Momentum(
            parameters=trained.parameters,
            momentum=self.momentum,
            use_nesterov=self.use_nesterov,
            weight_decay=paddle.regularizer.L2Decay(self.regularizer.coeff) if self.regularizer else None,
            **trained.shared,
        )


@OPTIMIZERS.declare
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    moment: ClassVar = "moment1"

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `AdamW`."""
        import paddle

        return paddle.optimizer.AdamW(
            parameters=trained.parameters,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
            apply_decay_param_fun=lambda name: name not in trained.bare | trained.own,
            **trained.shared,
        )
