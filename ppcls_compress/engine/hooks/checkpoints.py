"""Checkpoints between epochs: `latest`, `best_model`, `epoch_N`."""

from __future__ import annotations

from pathlib import Path

from ppcls_compress import io
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
        keep_last: how many of the last epochs `latest` and the names behind it, `latest_1` and so on, hold.
    """

    def __init__(self, folder: Path, record: Record, interval: int, keep_last: int = 1) -> None:
        self._folder = folder
        self._record = record
        self._interval = interval
        self._keep_last = keep_last

    def before_training(self, trainer: Training) -> None:
        """Remove what saves that were killed have left."""
        if is_main():
            io.sweep(self._folder)

    def after_epoch(self, trainer: Training) -> None:
        """Save what this epoch deserves; only the main process writes.

        `latest` comes last: what it tells of must be there, whenever the process is killed.
        """
        progress = trainer.progress
        names = []
        if progress.epoch % self._interval == 0:
            names.append(f"epoch_{progress.epoch}")
        if progress.best_epoch == progress.epoch:
            names.append("best_model")
        if is_main():
            for name in names:
                checkpoint.save(self._folder / name, trainer, self._record)
            checkpoint.keep_earlier(self._folder / "latest", self._keep_last - 1)
            checkpoint.save(self._folder / "latest", trainer, self._record)
        wait_for_all()
