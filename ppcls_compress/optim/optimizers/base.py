"""What every optimizer has, and the registry. Paddle is imported where something is built, not before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        names: Paddle's name of each -> its structured name.
        bare: Paddle's names of those without weight decay.
        own: Paddle's names of those that carry a regularizer of their own, which takes precedence.
        shared: arguments that every optimizer of Paddle takes: learning rate, gradient clipping.
    """

    parameters: Sequence[paddle.Tensor]
    names: Mapping[str, str]
    bare: frozenset[str]
    own: frozenset[str]
    shared: dict[str, Any]


class Optimizer(Options):
    """What all optimizers have.

    Attributes:
        moment: the state that Paddle keeps for each trained parameter, by which a checkpoint is recognised as this
            optimizer's; None where there is none.
        gentle: learning rates up to this one are those of fine-tuning, at which batch norms may keep their statistics.
        scope: which parameters it trains: `all`, the name of a layer's or loss' class, of a part of the network, or a
            regular expression that whole names of layers match.
        clip_grad: without effect, as in PaddleClas, whose AdamW files have it.
    """

    moment: ClassVar[str | None] = None
    gentle: ClassVar[float] = 0.00025

    lr: named(SCHEDULES, default="Constant", example="{name: Cosine, learning_rate: 0.01}")
    scope: Annotated[str, Field(min_length=1, max_length=200)] = "all"
    clip_norm: Positive | None = Field(default=None, description="largest L2 norm of each parameter's gradient")
    clip_grad: NonNegative | Literal["None"] | None = None
    multi_precision: bool = False
    no_weight_decay_name: str | None = Field(default=None, description="parts of parameter names, separated by spaces")
    one_dim_param_no_weight_decay: bool = False

    def build(self, trained: Trained) -> paddle.optimizer.Optimizer:
        """Paddle's optimizer of these parameters."""
        raise TypeError(f"{type(self).__name__} has no build of its own")

    def exempt(self, name: str, shape: Sequence[int]) -> bool:
        """Whether a parameter does not decay, by its structured name and shape."""
        if self.one_dim_param_no_weight_decay and len(shape) <= 1:
            return True
        return any(part in name for part in (self.no_weight_decay_name or "").split())

    def inert(self) -> Iterator[tuple[str, str]]:
        """Options that are set in vain, with the reason."""
        for key, reason in self.lr.inert():
            yield f"lr.{key}", reason
        if self.clip_grad not in (None, "None"):
            yield "clip_grad", "PaddleClas' optimizers pass over it; clip_norm limits the norm of each gradient"


OPTIMIZERS: Declarations[Optimizer] = Declarations("optimizer")


class Regularizer(Options):
    """What is added to a gradient: `coeff` times the weight (L2), or times its sign (L1)."""

    example: ClassVar[str] = "{name: L2, coeff: 0.0001}"

    name: Literal["L1", "L2"] = "L2"
    coeff: NonNegative = 0.0


class Regularized(Optimizer):
    """An optimizer whose weight decay is added to the gradients.

    Attributes:
        weight_decay: the same as an L2 regularizer, where no `regularizer` is given.
    """

    regularizer: Regularizer | None = None
    weight_decay: NonNegative | None = None

    def inert(self) -> Iterator[tuple[str, str]]:
        """A weight decay beside a regularizer too."""
        yield from super().inert()
        if self.regularizer is not None and self.weight_decay is not None:
            yield "weight_decay", "regularizer is given, which takes precedence"

    def decay(self, trained: Trained) -> paddle.regularizer.WeightDecayRegularizer | None:
        """Paddle's regularizer; one of nothing of its own keeps the decay from each bare parameter."""
        import paddle

        for parameter in trained.parameters:
            if parameter.name in trained.bare:
                parameter.regularizer = paddle.regularizer.L2Decay(0.0)
        if self.regularizer is not None and self.regularizer.name == "L1":
            return paddle.regularizer.L1Decay(self.regularizer.coeff)
        coeff = self.weight_decay if self.regularizer is None else self.regularizer.coeff
        return None if coeff is None else paddle.regularizer.L2Decay(coeff)
