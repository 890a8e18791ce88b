"""What is trained, with what, and how far: the state that the loop changes and that hooks and checkpoints read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import paddle

from ppcls_compress.engine.averages import MovingAverage
from ppcls_compress.engine.precision import Precision
from ppcls_compress.losses import TotalLoss
from ppcls_compress.optim.build import Owners
from ppcls_compress.optim.group import OptimizerGroup
from ppcls_compress.optim.scheduler import Schedule, ScheduleGroup


@dataclass
class Progress:
    """How far a run has come; a checkpoint holds it.

    Attributes:
        epoch: epochs completed.
        batch: batches of the running epoch that went into optimizer steps; 0 between epochs.
        step: optimizer steps taken.
        best: the best value so far of the metric that chooses the best checkpoint, and the epoch it was reached in.
        metrics: the latest evaluation, by name.
        watched: the best value so far of what early stopping watches.
        waited: evaluations since then.
        stopped: whether the run has ended early.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    watched: float | None = None
    waited: int = 0
    stopped: bool = False


@dataclass
class Training:
    """A model, its data and its optimizer.

    Attributes:
        loss: the network's output, labels and images to a sum and its terms.
        loader: batches (images [N, C, H, W], labels [N], [N, k] or [N, classes]), `set_epoch(n)`, `len()`.
        seed: with the epoch's number, decides all that is random in an epoch, so that a resumed run repeats it.
        accumulate: batches whose gradients are added up before each optimizer step.
        settings: what a checkpoint tells of the run beside, for the one that resumes it.
        average: the moving average of the network, which is evaluated and saved in its place; None without.
    """

    model: paddle.nn.Layer
    loss: TotalLoss
    optimizer: paddle.optimizer.Optimizer | OptimizerGroup
    schedule: Schedule | ScheduleGroup
    loader: Any
    epochs: int
    seed: int = 0
    accumulate: int = 1
    precision: Precision = field(default_factory=Precision)
    progress: Progress = field(default_factory=Progress)
    settings: dict[str, Any] = field(default_factory=dict)
    average: MovingAverage | None = None

    def named_parameters(self) -> Iterator[tuple[str, paddle.Tensor]]:
        """What is trained: the network's parameters, and those of losses."""
        return Owners(self.model, self.loss.layers()).named_parameters()

    def judged(self) -> AbstractContextManager[None]:
        """Within the block the model is what is evaluated and saved: its moving average where there is one."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that an epoch has."""
        return math.ceil(len(self.loader) / self.accumulate)
