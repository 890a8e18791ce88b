"""Curves for VisualDL and TensorBoard (extras of these names)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import MissingDependencyError


class Writer(Protocol):
    """What both of them have."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""

    def close(self) -> None:
        """Write what is still held back."""


class Scalars(Hook):
    """Writes the loss and the learning rate of each batch, and the metrics of each evaluation.

    Args:
        opened: makes the writer, once training begins.
    """

    def __init__(self, opened: Callable[[], Writer]) -> None:
        self._opened = opened
        self._writer: Writer | None = None
        self._evaluated: dict[str, float] = {}

    def before_training(self, trainer: Training) -> None:
        """Know the evaluation of a run that is resumed, which has its point already."""
        self._writer = self._opened()
        self._evaluated = trainer.progress.metrics

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Add a point to the training curves."""
        step = trainer.progress.epoch * len(trainer.loader) + batch.index
        self._writer.add_scalar("train/loss", float(batch.loss), step)
        self._writer.add_scalar("train/learning_rate", trainer.optimizer.get_lr(), step)

    def after_epoch(self, trainer: Training) -> None:
        """Add a point to the evaluation curves, when there was an evaluation."""
        if trainer.progress.metrics is not self._evaluated:
            self._evaluated = trainer.progress.metrics
            for name, value in self._evaluated.items():
                self._writer.add_scalar(f"eval/{name}", value, trainer.progress.epoch)

    def after_training(self, trainer: Training) -> None:
        """Write what is still held back."""
        if self._writer is not None:
            self._writer.close()


def visualdl(folder: Path) -> Scalars:
    """Curves for `visualdl --logdir FOLDER`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return Scalars(partial(_load("visualdl", "visualdl").LogWriter, logdir=str(folder)))


def tensorboard(folder: Path) -> Scalars:
    """Curves for `tensorboard --logdir FOLDER`, written by tensorboardX, which needs no TensorFlow.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return Scalars(partial(_load("tensorboardX", "tensorboard").SummaryWriter, logdir=str(folder)))


def _load(package: str, extra: str) -> object:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingDependencyError(
            f"Global.use_{extra}: {package} is not installed; pip install 'ppcls_compress[{extra}]'"
        ) from None
