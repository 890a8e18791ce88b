"""Curves for VisualDL (extra `visualdl`)."""

from __future__ import annotations

from pathlib import Path

from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import MissingDependencyError


class VisualDL(Hook):
    """Writes the loss and the learning rate of each batch, and the metrics of each evaluation, to `folder`.

    Raises:
        MissingDependencyError: VisualDL is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from visualdl import LogWriter
        except ImportError:
            raise MissingDependencyError(
                "Global.use_visualdl: VisualDL is not installed; pip install 'ppcls_compress[visualdl]'"
            ) from None
        self._writer = LogWriter(logdir=str(folder))
        self._evaluated: dict[str, float] = {}

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
        self._writer.close()
