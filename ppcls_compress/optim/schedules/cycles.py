"""Schedules that go up before they go down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import Field, model_validator

from ppcls_compress.declare import Fraction, NonNegative, Number, Positive
from ppcls_compress.optim.schedules.base import SCHEDULES, Rate, Run, ScheduleOptions


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * part) + 1)


def _line(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


@SCHEDULES.declare
class OneCycleLR(ScheduleOptions):
    """Up from `max_learning_rate / divide_factor`, and down to `end_learning_rate` (Smith and Topin 2018).

    Attributes:
        phase_pct: share of the run in which the rate goes up.
        anneal_strategy: along half a cosine, or a straight line.
        three_phase: go back to the first rate in as many steps, and to the last one in the rest.
    """

    max_learning_rate: Positive
    divide_factor: Positive = 25.0
    end_learning_rate: NonNegative = 1e-10
    phase_pct: Fraction = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    three_phase: bool = False

    @model_validator(mode="after")
    def _three_fit(self) -> OneCycleLR:
        if self.three_phase and self.phase_pct >= 0.5:
            raise ValueError(f"phase_pct must be below 0.5 with three_phase, found {self.phase_pct:g}")
        return self

    @property
    def peak(self) -> float:
        """The largest rate."""
        return self.max_learning_rate

    def decay(self, run: Run) -> Rate:
        """The phases over all steps of the run, warm-up or not."""
        first, last = self.max_learning_rate / self.divide_factor, run.total - 1
        up = self.phase_pct * run.total
        if self.three_phase:
            ends = [0, up - 1, 2 * up - 2, last]
            rates = [first, self.max_learning_rate, first, self.end_learning_rate]
        else:
            ends = [0, up - 1, last]
            rates = [first, self.max_learning_rate, self.end_learning_rate]
        between: Callable[[float, float, float], float] = _cosine if self.anneal_strategy == "cos" else _line

        def rate(position: int) -> float:
            phase = next((i for i, end in enumerate(ends[1:]) if position <= end), len(ends) - 2)
            length = ends[phase + 1] - ends[phase]
            # The step after the last one, which a schedule takes and nobody trains with, goes on along the curve.
            part = (position - ends[phase]) / length if length > 0 else 1.0
            return between(rates[phase], rates[phase + 1], part)

        return rate


@SCHEDULES.declare
class Cyclic(ScheduleOptions):
    """Up and down between two rates again and again (Smith 2017).

    Attributes:
        step_size_up: positions on the way up, and, unless `step_size_down` says otherwise, on the way down.
        mode: the height stays, halves with each cycle, or shrinks by `exp_gamma` with each position.
        scale_mode: without effect; the mode decides it.
    """

    base_learning_rate: Positive
    max_learning_rate: Positive
    step_size_up: Positive
    step_size_down: Positive | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    exp_gamma: Number = Field(default=1.0, gt=0, le=1)
    scale_mode: Literal["cycle", "iterations"] = "cycle"
    scale_fn: Literal[None] = None

    @property
    def peak(self) -> float:
        """The smaller rate, at which each cycle begins."""
        return self.base_learning_rate

    @property
    def highest(self) -> float:
        """The larger rate."""
        return max(self.base_learning_rate, self.max_learning_rate)

    def inert(self) -> Iterator[tuple[str, str]]:
        """A `scale_mode` that is not the mode's own too."""
        yield from super().inert()
        if "scale_mode" in self.model_fields_set and (self.scale_mode == "iterations") != (self.mode == "exp_range"):
            yield "scale_mode", f"mode {self.mode} decides it"

    def decay(self, run: Run) -> Rate:
        """The triangles."""
        length = self.step_size_up + (self.step_size_down or self.step_size_up)
        up = self.step_size_up / length
        scales: dict[str, Callable[[int, int], float]] = {
            "triangular": lambda cycle, position: 1.0,
            "triangular2": lambda cycle, position: 0.5**cycle,
            "exp_range": lambda cycle, position: self.exp_gamma**position,
        }

        def rate(position: int) -> float:
            cycle = int(position // length)
            part = position / length - cycle
            height = part / up if part <= up else (1 - part) / (1 - up)
            amplitude = (self.max_learning_rate - self.base_learning_rate) * scales[self.mode](cycle, position)
            return self.base_learning_rate + amplitude * height

        return rate
