"""Optimizers whose steps follow the gradient itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppcls_compress.optim.optimizers.base import OPTIMIZERS, Fraction, Regularized, Trained

if TYPE_CHECKING:
    import paddle


@OPTIMIZERS.declare
class Momentum(Regularized):
    """Stochastic gradient descent with momentum: `v = momentum * v + g`, `p -= lr * v`."""

    moment: ClassVar[str] = "velocity"
    gentle: ClassVar[float] = 0.0025

    momentum: Fraction = 0.9
    use_nesterov: bool = False
    multi_precision: bool = True

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `Momentum`."""
        import paddle

        return paddle.optimizer.Momentum(
            parameters=trained.parameters,
            momentum=self.momentum,
            use_nesterov=self.use_nesterov,
            weight_decay=self.decay(trained),
            multi_precision=self.multi_precision,
            **trained.shared,
        )


@OPTIMIZERS.declare
class SGD(Regularized):
    """Stochastic gradient descent: `p -= lr * g`."""

    gentle: ClassVar[float] = 0.025

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `SGD`."""
        import paddle

        return paddle.optimizer.SGD(
            parameters=trained.parameters,
            weight_decay=self.decay(trained),
            multi_precision=self.multi_precision,
            **trained.shared,
        )
