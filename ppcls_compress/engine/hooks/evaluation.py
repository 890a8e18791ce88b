"""Evaluation between epochs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.logs import logger, tell_event
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import UserError
from ppcls_compress.metrics import METRICS


class Evaluation(Hook):
    """Calls `evaluate` every `interval` epochs and after the last; the value `metric` decides which epoch is best.

    It also decides the learning rate of schedules that watch it. What is evaluated is the moving average of the
    network, where there is one.

    Args:
        start: the first epoch that counts among every `interval`, from 1.
    """

    def __init__(
        self,
        evaluate: Callable[[], dict[str, float]],
        interval: int,
        metric: str,
        *,
        higher_is_better: bool = True,
        start: int = 0,
    ) -> None:
        self._evaluate = evaluate
        self._interval = interval
        self._start = start
        self._metric = metric
        self._better = operator.gt if higher_is_better else operator.lt

    def after_epoch(self, trainer: Training) -> None:
        """Evaluate, and keep track of the best."""
        progress = trainer.progress
        due = progress.epoch >= self._start and not progress.epoch % self._interval
        if not due and progress.epoch != trainer.epochs:
            return
        with trainer.judged():
            progress.metrics = self._evaluate()
        for name, found in progress.metrics.items():
            if not math.isfinite(found):
                raise UserError(
                    f"training stopped after epoch {progress.epoch}: {name} of the evaluation is {found}; the last "
                    "checkpoint is kept; lower Optimizer.lr.learning_rate or set Optimizer.clip_norm"
                )
        value, named = progress.metrics[self._metric], {"metrics": dict(progress.metrics)}
        trainer.schedule.evaluated(value)
        if progress.best is None or self._better(value, progress.best):
            progress.best, progress.best_epoch = value, progress.epoch
        tell_event("evaluation", epoch=progress.epoch, best=progress.best, best_epoch=progress.best_epoch, **named)
        logger.info(
            "epoch %d/%d, evaluation: %s; best %s in epoch %d",
            progress.epoch,
            trainer.epochs,
            describe(progress.metrics),
            describe({self._metric: progress.best}),
            progress.best_epoch,
        )


def describe(metrics: dict[str, float]) -> str:
    """Metrics in words: fractions in percent, losses and what metrics call numbers as they are."""
    return ", ".join(
        f"{name} {100 * value:.2f}%" if is_fraction(name) else f"{name} {value:.4f}" for name, value in metrics.items()
    )


def is_fraction(name: str) -> bool:
    """Whether a value of an evaluation is shown in percent."""
    numbers = tuple(number for name in METRICS for number in METRICS.get(name).numbers)
    return not (name.lower().endswith("loss") or name.endswith(numbers))
