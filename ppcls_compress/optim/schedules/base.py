"""What every learning-rate schedule has, and the registry.

A schedule is a function of the position alone, in optimizer steps or (`by_epoch`) in epochs, so a resumed run has the
same rates; but for those that watch evaluations, whose state a checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from ppcls_compress.declare import LARGEST, Declarations, NonNegative, Number, Options

Rate = Callable[[int], float]
"""Positions since the end of the warm-up to the learning rate."""


@dataclass(frozen=True)
class Run:
    """How long a run is, in a schedule's own unit.

    Attributes:
        unit: positions in an epoch: the optimizer steps it has, or 1 where rates change once an epoch.
        epochs: of the whole run.
        warmup: epochs of warm-up, at most all of them.
        total: optimizer steps of the whole run, whatever the unit.
    """

    unit: int
    epochs: int
    warmup: float
    total: int


class Watcher(Protocol):
    """Lowers a learning rate by what evaluations find; `state` is what a checkpoint keeps of it."""

    rate: float

    def evaluated(self, value: float) -> None:
        """Take note of one evaluation's main metric."""

    def state(self) -> dict[str, float | int | None]:
        """Plain values, from which `restore` goes on."""

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Go on from a saved state."""


class ScheduleOptions(Options):
    """What all schedules share: a linear warm-up over `warmup_epoch` epochs, from `warmup_start_lr`.

    Attributes:
        by_epoch: change the rate once an epoch instead of once a step.
        last_epoch: where the schedule starts: one position after this one.
        epochs: without effect; `Global.epochs` counts, as in PaddleClas.
        step_each_epoch: without effect; the steps of an epoch are counted.
        verbose: without effect; the log tells the rate.
    """

    warmup_epoch: NonNegative = 0
    warmup_start_lr: NonNegative = 0.0
    by_epoch: bool = False
    last_epoch: Annotated[int, Field(ge=-1, le=LARGEST)] = -1
    epochs: Number | None = None
    step_each_epoch: Number | None = None
    verbose: bool = False

    @property
    def peak(self) -> float:
        """The rate that the warm-up ends at."""
        return self.learning_rate

    @property
    def highest(self) -> float:
        """What the rate may reach, however many steps an epoch has."""
        return self.peak

    def decay(self, run: Run) -> Rate:
        """The rate after the warm-up."""
        raise TypeError(f"{type(self).__name__} has no decay of its own")

    def watcher(self) -> Watcher | None:
        """What decides the rate instead, where evaluations do."""
        return None

    def inert(self) -> Iterator[tuple[str, str]]:
        """Options that are set in vain, with the reason."""
        if self.epochs is not None:
            yield "epochs", "Global.epochs counts"
        if self.step_each_epoch is not None:
            yield "step_each_epoch", "the steps of an epoch are counted"
        if self.verbose:
            yield "verbose", "the log tells the rate"

    def rate(self, *, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
        """The rate at each optimizer step, counted from 0."""
        warmup = min(self.warmup_epoch, epochs)
        unit = 1 if self.by_epoch else steps_per_epoch
        positions = warmup if self.by_epoch else round(warmup * steps_per_epoch)
        after_warmup = self.decay(Run(unit, epochs, warmup, epochs * steps_per_epoch))

        def at(step: int) -> float:
            position = (step // steps_per_epoch if self.by_epoch else step) + self.last_epoch + 1
            if position < positions:
                return self.warmup_start_lr + (self.peak - self.warmup_start_lr) * position / positions
            return after_warmup(position - positions)

        return at


SCHEDULES: Declarations[ScheduleOptions] = Declarations("schedule")
