"""The end of a run that gets no better."""

from __future__ import annotations

import math

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import UserError, unknown


class EarlyStopping(Hook):
    """Ends training after so many evaluations without an improvement; what was best is kept by the checkpoints.

    How long it has waited is part of a checkpoint, so that a resumed run ends where it would have ended. It stands
    behind the evaluation and before the checkpoints.

    Args:
        patience: evaluations in a row that need not be better.
        metric: the value that is watched, as the evaluation calls it.
        higher_is_better: of that value.
        min_delta: what counts as better is more than this, as a fraction: 0.001 is a tenth of a percent.
    """

    def __init__(self, patience: int, metric: str, *, higher_is_better: bool, min_delta: float = 0.0) -> None:
        self._patience, self._metric, self._delta = patience, metric, min_delta
        self._sign = 1.0 if higher_is_better else -1.0

    def before_training(self, trainer: Training) -> None:
        """Know the evaluation of an earlier run, which is told already."""
        self._seen = trainer.progress.metrics

    def after_epoch(self, trainer: Training) -> None:
        """Look at a new evaluation."""
        progress = trainer.progress
        if progress.metrics is self._seen:
            return
        self._seen = progress.metrics
        if self._metric not in progress.metrics:
            raise UserError(f"Global.early_stopping.metric: {unknown('value', self._metric, progress.metrics)}")
        value = progress.metrics[self._metric]
        if self._better(value, progress.watched):
            progress.watched, progress.waited = value, 0
            return
        progress.waited += 1
        if progress.waited >= self._patience and progress.epoch < trainer.epochs:
            progress.stopped = True
            logger.info(
                "early stopping after epoch %d of %d: %s was %s at best, and no better in %d evaluations",
                progress.epoch,
                trainer.epochs,
                self._metric,
                "no number" if progress.watched is None else f"{progress.watched:.4f}",
                progress.waited,
            )

    def _better(self, value: float, best: float | None) -> bool:
        if math.isnan(value):
            return False
        return best is None or math.isnan(best) or self._sign * (value - best) > self._delta
