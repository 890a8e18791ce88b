"""Schedules that go down: constant, in steps, along a curve, or when evaluations find no progress."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ppcls_compress.declare import Count, NonNegative, Number, Positive
from ppcls_compress.optim.schedules.base import SCHEDULES, Rate, Run, ScheduleOptions, Watcher
from ppcls_compress.optim.schedules.plateau import Plateau

Shrinking = Annotated[Number, Field(gt=0, le=1)]


@SCHEDULES.declare
class Constant(ScheduleOptions):
    """The same rate throughout."""

    learning_rate: Positive

    def decay(self, run: Run) -> Rate:
        """Constant."""
        return lambda position: self.learning_rate


@SCHEDULES.declare
class ConstLR(Constant):
    """The same rate throughout; PaddleClas' name for the one with a warm-up."""


@SCHEDULES.declare
class Linear(ScheduleOptions):
    """A polynomial, a straight line by default, from `learning_rate` to `end_lr`.

    Attributes:
        cycle: begin anew, with a longer way, where the run goes on past the end.
    """

    learning_rate: Positive
    end_lr: NonNegative = 0.0
    power: Positive = 1.0
    cycle: bool = False

    def decay(self, run: Run) -> Rate:
        """`(learning_rate - end_lr) * (1 - t / T) ** power + end_lr`, over what the warm-up leaves of the run."""
        length = (run.epochs - run.warmup) * run.unit

        def rate(position: int) -> float:
            if length <= 0:
                return self.learning_rate
            whole = length * max(math.ceil(position / length), 1) if self.cycle else length
            left = 1 - min(position, whole) / whole
            return (self.learning_rate - self.end_lr) * left**self.power + self.end_lr

        return rate


@SCHEDULES.declare
class Cosine(ScheduleOptions):
    """Half a cosine from `learning_rate` to `eta_min` after the warm-up (Loshchilov and Hutter 2017, equation 5)."""

    learning_rate: Positive
    eta_min: NonNegative = 0.0

    def decay(self, run: Run) -> Rate:
        """Half a cosine over what the warm-up leaves of the run."""
        length = (run.epochs - run.warmup) * run.unit

        def rate(position: int) -> float:
            if length <= 0:
                return self.learning_rate
            half = (1 + math.cos(math.pi * min(position / length, 1.0))) / 2
            return self.eta_min + (self.learning_rate - self.eta_min) * half

        return rate


@SCHEDULES.declare
class CosineWarmup(Cosine):
    """A cosine after five epochs of warm-up; the name that PaddleClas' older files have."""

    warmup_epoch: NonNegative = 5


@SCHEDULES.declare
class CosineFixmatch(ScheduleOptions):
    """`learning_rate * max(0, cos(pi * num_cycles * t))`, t from 0 to 1 after a warm-up (Sohn and others 2020).

    Attributes:
        num_warmup_steps: positions of a warm-up from nothing.
    """

    learning_rate: Positive
    num_warmup_steps: NonNegative
    num_cycles: Number = 7 / 16
    warmup_epoch: Literal[0] = 0

    def decay(self, run: Run) -> Rate:
        """The part of a cosine."""

        def rate(position: int) -> float:
            if position < self.num_warmup_steps:
                return self.learning_rate * position / max(1, self.num_warmup_steps)
            done = (position - self.num_warmup_steps) / max(1, run.total - self.num_warmup_steps)
            return self.learning_rate * max(0.0, math.cos(math.pi * self.num_cycles * done))

        return rate


@SCHEDULES.declare
class Piecewise(ScheduleOptions):
    """`values[i]` until epoch `decay_epochs[i]`, counted from the end of the warm-up; the last value from then on.

    A last epoch without a value of its own, as some files of PaddleClas have it, changes nothing.

    Attributes:
        learning_rate: where it is given, it decides alone, as in PaddleClas: a tenth of the rate every 30 epochs.
    """

    decay_epochs: tuple[Count, ...] = ()
    values: tuple[Positive, ...] = ()
    learning_rate: Positive | None = None

    @model_validator(mode="after")
    def _lengths(self) -> Piecewise:
        if self.learning_rate is not None and not self.values:
            return self
        if len(self.values) - len(self.decay_epochs) not in (0, 1) or not self.values:
            raise ValueError(
                f"values needs one entry more than decay_epochs, found {len(self.values)} and {len(self.decay_epochs)}"
            )
        if any(first >= second for first, second in pairwise(self.decay_epochs)):
            raise ValueError(f"decay_epochs must increase, found {list(self.decay_epochs)}")
        return self

    @property
    def peak(self) -> float:
        """The first value."""
        return self.values[0] if self.learning_rate is None else self.learning_rate

    def inert(self) -> Iterator[tuple[str, str]]:
        """`decay_epochs` and `values`, where they are not what `learning_rate` makes them."""
        yield from super().inert()
        if self.learning_rate is None or not self.values:
            return
        ends = all(end == 30 * (index + 1) for index, end in enumerate(self.decay_epochs))
        tenths = all(math.isclose(v, self.learning_rate * 0.1**i, rel_tol=1e-6) for i, v in enumerate(self.values))
        if not (ends and tenths):
            reason = "learning_rate is given, which means a tenth of it every 30 epochs; leave learning_rate out to use"
            yield "values", f"{reason} decay_epochs and values"

    def decay(self, run: Run) -> Rate:
        """Steps down at `decay_epochs`."""
        ends, values = self.decay_epochs, self.values
        if self.learning_rate is not None:
            ends = tuple(range(30, run.epochs, 30))
            values = tuple(self.learning_rate * 0.1**index for index in range(len(ends) + 1))
        bounds = [end * run.unit for end in ends]
        return lambda position: values[min(bisect_right(bounds, position), len(values) - 1)]


@SCHEDULES.declare
class Step(ScheduleOptions):
    """`learning_rate` times `gamma` every `step_size` epochs."""

    learning_rate: Positive
    step_size: Positive
    gamma: Shrinking = 0.1

    def decay(self, run: Run) -> Rate:
        """Steps of equal length, in whole positions."""
        length = self.step_size if self.by_epoch else max(int(self.step_size * run.unit), 1)
        return lambda position: self.learning_rate * self.gamma ** (position // length)


@SCHEDULES.declare
class MultiStepDecay(ScheduleOptions):
    """`learning_rate` times `gamma` at each epoch of `milestones`."""

    learning_rate: Positive
    milestones: tuple[Count, ...]
    gamma: Shrinking = 0.1

    @model_validator(mode="after")
    def _increasing(self) -> MultiStepDecay:
        if any(first >= second for first, second in pairwise(self.milestones)):
            raise ValueError(f"milestones must increase, found {list(self.milestones)}")
        return self

    def decay(self, run: Run) -> Rate:
        """Steps at `milestones`."""
        bounds = [epoch * run.unit for epoch in self.milestones]
        return lambda position: self.learning_rate * self.gamma ** bisect_right(bounds, position)


@SCHEDULES.declare
class ReduceOnPlateau(ScheduleOptions):
    """`learning_rate`, lowered by `factor` when the main metric has not become better for `patience` evaluations.

    Attributes:
        mode: whether a better metric is smaller or larger.
        threshold: by how much it has to be better: as a share of the best (`rel`), or as it is (`abs`).
        cooldown: evaluations after a reduction that do not count.
        min_lr: below which it does not go.
        epsilon: smallest change of the rate that is made.
    """

    learning_rate: Positive
    mode: Literal["min", "max"] = "min"
    factor: Number = Field(default=0.1, gt=0, lt=1)
    patience: NonNegative = 10
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: NonNegative = 0
    min_lr: NonNegative = 0.0
    epsilon: NonNegative = 1e-8
    by_epoch: Literal[True] = True
    warmup_epoch: Literal[0] = 0
    last_epoch: Literal[-1] = -1

    @model_validator(mode="before")
    @classmethod
    def _lower_case(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        named = {key: data[key].lower() for key in ("mode", "threshold_mode") if isinstance(data.get(key), str)}
        return {**data, **named}

    def decay(self, run: Run) -> Rate:
        """As it starts."""
        return lambda position: self.learning_rate

    def watcher(self) -> Watcher:
        """What counts the evaluations."""
        return Plateau(self.learning_rate, self)
