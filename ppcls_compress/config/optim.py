"""The `Optimizer` section under PaddleClas' keys: optimizers, learning-rate schedules, regularizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ppcls_compress.config.base import Number, Options

Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Schedule(Options):
    """What all schedules share: a linear warm-up over `warmup_epoch` epochs, from `warmup_start_lr`.

    Attributes:
        by_epoch: change the rate once an epoch instead of once a step.
    """

    warmup_epoch: NonNegative = 0
    warmup_start_lr: NonNegative = 0.0
    by_epoch: bool = False


class Constant(_Schedule):
    """The same rate throughout."""

    name: Literal["Constant"] = "Constant"
    learning_rate: Positive


class Cosine(_Schedule):
    """Half a cosine from `learning_rate` to `eta_min` after the warm-up (Loshchilov and Hutter 2017, equation 5)."""

    name: Literal["Cosine"]
    learning_rate: Positive
    eta_min: NonNegative = 0.0


class Piecewise(_Schedule):
    """`values[i]` until epoch `decay_epochs[i]`, counted from the end of the warm-up; the last value from then on."""

    name: Literal["Piecewise"]
    decay_epochs: tuple[Count, ...]
    values: tuple[Positive, ...]
    learning_rate: Positive | None = None

    @model_validator(mode="after")
    def _lengths(self) -> Piecewise:
        if len(self.values) != len(self.decay_epochs) + 1:
            raise ValueError(
                f"values needs one entry more than decay_epochs, found {len(self.values)} and {len(self.decay_epochs)}"
            )
        if list(self.decay_epochs) != sorted(set(self.decay_epochs)):
            raise ValueError(f"decay_epochs must increase, found {list(self.decay_epochs)}")
        if self.learning_rate is not None and self.learning_rate != self.values[0]:
            raise ValueError(f"learning_rate {self.learning_rate} contradicts values[0] {self.values[0]}; leave it out")
        return self


class Step(_Schedule):
    """`learning_rate` times `gamma` every `step_size` epochs."""

    name: Literal["Step"]
    learning_rate: Positive
    step_size: Positive
    gamma: Positive = 0.1


class MultiStepDecay(_Schedule):
    """`learning_rate` times `gamma` at each epoch of `milestones`."""

    name: Literal["MultiStepDecay"]
    learning_rate: Positive
    milestones: tuple[Count, ...]
    gamma: Positive = 0.1


ScheduleOptions = Annotated[Constant | Cosine | Piecewise | Step | MultiStepDecay, Field(discriminator="name")]


class Regularizer(Options):
    """L2 regularization: `coeff` times the weight is added to its gradient."""

    name: Literal["L2"] = "L2"
    coeff: NonNegative


class _Optimizer(Options):
    lr: ScheduleOptions
    clip_norm: Positive | None = Field(default=None, description="largest L2 norm of each parameter's gradient")
    multi_precision: bool = False
    no_weight_decay_name: str | None = Field(default=None, description="parts of parameter names, separated by spaces")
    one_dim_param_no_weight_decay: bool = False

    @model_validator(mode="before")
    @classmethod
    def _plain_rate(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("lr"), dict) and "name" not in data["lr"]:
            return {**data, "lr": {"name": "Constant", **data["lr"]}}
        return data


class Momentum(_Optimizer):
    """Stochastic gradient descent with momentum; weight decay by `regularizer`."""

    name: Literal["Momentum"]
    momentum: Fraction = 0.9
    use_nesterov: bool = False
    regularizer: Regularizer | None = None


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["AdamW"]
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01


OptimizerOptions = Annotated[Momentum | AdamW, Field(discriminator="name")]
