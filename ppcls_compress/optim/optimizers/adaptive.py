"""Optimizers that scale each step by what gradients were before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ppcls_compress.declare import NonNegative, Number, Positive
from ppcls_compress.errors import ConfigError
from ppcls_compress.optim.optimizers.base import OPTIMIZERS, Fraction, Optimizer, Regularized, Trained

if TYPE_CHECKING:
    import paddle


@OPTIMIZERS.declare
class Adam(Regularized):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradients.

    Attributes:
        lazy_mode: without effect; no gradient here is sparse.
    """

    moment: ClassVar[str] = "moment1"

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    lazy_mode: bool = False

    def inert(self) -> Iterator[tuple[str, str]]:
        """Lazy mode too."""
        yield from super().inert()
        if self.lazy_mode:
            yield "lazy_mode", "it concerns sparse gradients, and there are none"

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `Adam`."""
        import paddle

        return paddle.optimizer.Adam(
            parameters=trained.parameters,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.decay(trained),
            multi_precision=self.multi_precision,
            **trained.shared,
        )


@OPTIMIZERS.declare
class RMSProp(Regularized):
    """RMSProp: steps of momentum over gradients divided by the root of their mean square (rate of decay `rho`).

    Attributes:
        multi_precision: without effect; Paddle's has none.
    """

    moment: ClassVar[str] = "mean_square"

    momentum: Fraction = 0.0
    rho: Fraction = 0.95
    epsilon: Positive = 1e-6

    def inert(self) -> Iterator[tuple[str, str]]:
        """Multiple precision too."""
        yield from super().inert()
        if self.multi_precision:
            yield "multi_precision", "Paddle's RMSProp keeps no weights in another precision"

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `RMSProp`."""
        import paddle

        return paddle.optimizer.RMSProp(
            parameters=trained.parameters,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            weight_decay=self.decay(trained),
            **trained.shared,
        )


@OPTIMIZERS.declare
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    moment: ClassVar[str] = "moment1"

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `AdamW`."""
        import paddle

        return paddle.optimizer.AdamW(**self._arguments(trained))

    def _arguments(self, trained: Trained) -> dict[str, Any]:
        return {
            "parameters": trained.parameters,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay,
            "multi_precision": self.multi_precision,
            "apply_decay_param_fun": lambda name: name not in trained.bare | trained.own,
            **trained.shared,
        }


_BLOCK = re.compile(r"blocks\.(\d+)\.")
_BEFORE_BLOCKS = ("embed", "token", "conv1", "ln_pre")


@OPTIMIZERS.declare
class AdamWDL(AdamW):
    """AdamW whose learning rate shrinks from the last layer to the first: by `layerwise_decay` for each layer.

    Block `i` of `n` has `layerwise_decay ** (n - i)` times the rate, what comes before the blocks
    `layerwise_decay ** (n + 1)` times, the rest the whole (Bao and others 2022, BEiT). Weight decay shrinks alike.

    Attributes:
        filter_bias_and_bn: no weight decay for parameters of one dimension and biases.
    """

    layerwise_decay: Number | None = Field(default=None, gt=0, le=1)
    filter_bias_and_bn: bool = True

    def exempt(self, name: str, shape: Any) -> bool:
        """Biases and parameters of one dimension too."""
        return super().exempt(name, shape) or (self.filter_bias_and_bn and (len(shape) == 1 or name.endswith(".bias")))

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `AdamW`, with a learning rate for each layer.

        Raises:
            ConfigError: the network has no numbered blocks.
        """
        from ppcls_compress.optim.layerwise import LayerwiseAdamW

        ratios = layer_ratios(list(trained.names.values()), self.layerwise_decay or 1.0)
        return LayerwiseAdamW(
            ratios={name: ratios[structured] for name, structured in trained.names.items()}, **self._arguments(trained)
        )


def layer_ratios(names: list[str], decay: float) -> dict[str, float]:
    """By which the learning rate of each parameter, by structured name, is multiplied.

    Raises:
        ConfigError: none of them is in a block.
    """
    blocks = {name: int(match[1]) for name in names if (match := _BLOCK.search(name))}
    if not blocks and decay != 1.0:
        raise ConfigError(
            "Optimizer.layerwise_decay: this network has no layers that are numbered as blocks.0, blocks.1 and so on, "
            "as vision transformers have; use AdamW"
        )
    count = max(blocks.values(), default=-1) + 1

    def ratio(name: str) -> float:
        if name in blocks:
            return decay ** (count - blocks[name])
        return decay ** (count + 1) if any(part in name for part in _BEFORE_BLOCKS) else 1.0

    return {name: ratio(name) for name in names}


@OPTIMIZERS.declare
class Lamb(AdamW):
    """Adam's steps, as long in each layer as the layer's weights are (You and others 2020)."""

    epsilon: Positive = 1e-6

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's `Lamb`."""
        import paddle

        return paddle.optimizer.Lamb(
            parameters=trained.parameters,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            lamb_weight_decay=self.weight_decay,
            exclude_from_weight_decay_fn=lambda parameter: parameter.name in trained.bare | trained.own,
            multi_precision=self.multi_precision,
            **trained.shared,
        )
