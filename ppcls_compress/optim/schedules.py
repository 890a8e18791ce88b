"""Learning-rate schedules in closed form: the rate is a function of the epoch, so a resumed run has the same one.

A new one: a class with its options and `decay`, decorated with `@SCHEDULES.declare`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import ClassVar

from pydantic import model_validator

from ppcls_compress.declare import Count, Declarations, NonNegative, Options, Positive

RateFunction = Callable[[float], float]
"""Epochs since the end of the warm-up, with fractions, to the learning rate."""


class ScheduleOptions(Options):
    """What all schedules share: a linear warm-up over `warmup_epoch` epochs, from `warmup_start_lr`.

    Attributes:
        by_epoch: change the rate once an epoch instead of once a step.
        inert: options that change nothing, with the reason.
    """

    inert: ClassVar[Mapping[str, str]] = {}

    warmup_epoch: NonNegative = 0
    warmup_start_lr: NonNegative = 0.0
    by_epoch: bool = False

    def decay(self, epochs: int) -> RateFunction:
        """The rate after the warm-up, in a run of so many epochs in all."""
        raise TypeError(f"{type(self).__name__} has no decay of its own")

    def rate(self, *, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
        """The rate at each optimizer step, counted from 0."""
        after_warmup = self.decay(epochs)
        peak = after_warmup(0.0)

        def at(step: int) -> float:
            epoch = step / steps_per_epoch
            if self.by_epoch:
                epoch = math.floor(epoch)
            if epoch < self.warmup_epoch:
                return self.warmup_start_lr + (peak - self.warmup_start_lr) * epoch / self.warmup_epoch
            return after_warmup(epoch - self.warmup_epoch)

        return at


SCHEDULES: Declarations[ScheduleOptions] = Declarations("schedule")


@SCHEDULES.declare
class Constant(ScheduleOptions):
    """The same rate throughout."""

    learning_rate: Positive

    def decay(self, epochs: int) -> RateFunction:
        """Constant."""
        return lambda epoch: self.learning_rate


@SCHEDULES.declare
class Cosine(ScheduleOptions):
    """Half a cosine from `learning_rate` to `eta_min` after the warm-up (Loshchilov and Hutter 2017, equation 5)."""

    learning_rate: Positive
    eta_min: NonNegative = 0.0

    def decay(self, epochs: int) -> RateFunction:
        """Half a cosine over what the warm-up leaves of the run."""
        length = max(epochs - self.warmup_epoch, 1e-9)

        def rate(epoch: float) -> float:
            half = (1 + math.cos(math.pi * min(epoch / length, 1.0))) / 2
            return self.eta_min + (self.learning_rate - self.eta_min) * half

        return rate


@SCHEDULES.declare
class Piecewise(ScheduleOptions):
    """`values[i]` until epoch `decay_epochs[i]`, counted from the end of the warm-up; the last value from then on.

    Attributes:
        learning_rate: without effect; files of PaddleClas have it beside `values`.
    """

    inert: ClassVar = {"learning_rate": "Piecewise has its rates in values"}

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
        return self

    def decay(self, epochs: int) -> RateFunction:
        """Steps down at `decay_epochs`."""
        return lambda epoch: self.values[bisect_right(self.decay_epochs, epoch + 1e-9)]


@SCHEDULES.declare
class Step(ScheduleOptions):
    """`learning_rate` times `gamma` every `step_size` epochs."""

    learning_rate: Positive
    step_size: Positive
    gamma: Positive = 0.1

    def decay(self, epochs: int) -> RateFunction:
        """Steps of equal length."""
        return lambda epoch: self.learning_rate * self.gamma ** math.floor(epoch / self.step_size + 1e-9)


@SCHEDULES.declare
class MultiStepDecay(ScheduleOptions):
    """`learning_rate` times `gamma` at each epoch of `milestones`."""

    learning_rate: Positive
    milestones: tuple[Count, ...]
    gamma: Positive = 0.1

    def decay(self, epochs: int) -> RateFunction:
        """Steps at `milestones`."""
        return lambda epoch: self.learning_rate * self.gamma ** bisect_right(self.milestones, epoch + 1e-9)
