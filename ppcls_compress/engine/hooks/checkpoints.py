"""Checkpoints between epochs: `latest`, `best_model`, `epoch_N`."""

from __future__ import annotations

from pathlib import Path

from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.distributed import is_main, wait_for_all
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.training import Training
from ppcls_compress.slim.recipe import Record


class Checkpoints(Hook):
    """Saves after each epoch; to be listed after the evaluation, whose result it needs.

    Args:
        folder: where the checkpoints go.
        record: the compression record of the model.
        interval: epochs between two `epoch_N`.
    """

    def __init__(self, folder: Path, record: Record, interval: int) -> None:
        self._folder = folder
        self._record = record
        self._interval = interval

    def after_epoch(self, trainer: Training) -> None:
        """Save what this epoch deserves; only the main process writes."""
        progress = trainer.progress
        names = ["latest"]
        if progress.epoch % self._interval == 0:
            names.append(f"epoch_{progress.epoch}")
        if progress.best_epoch == progress.epoch:
            names.append("best_model")
        if is_main():
            for name in names:
                checkpoint.save(self._folder / name, trainer, self._record)
        wait_for_all()
