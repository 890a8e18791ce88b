"""Keeps the moving average of the network."""

from __future__ import annotations

from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.training import Training


class Averaging(Hook):
    """Updates the average after each optimizer step; listed after what changes the network in a step."""

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Update, where the batch was the last of a step."""
        if trainer.average is not None and trainer.progress.batch == batch.index + 1:
            trainer.average.update()
