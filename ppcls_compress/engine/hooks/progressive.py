"""Dropout that grows with a run (Tan and Le 2021, EfficientNetV2), as `Global.train_mode: progressive` asks."""

from __future__ import annotations

from paddle import nn

from ppcls_compress.data.transforms.stages import stage
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.training import Training


class ProgressiveDropout(Hook):
    """Gives each layer that lists `dropout_rate` for the parts of a run the rate of the present one, in `_dropout`.

    So PaddleClas' networks have them; sizes and magnitudes are the transforms' own (`progress_size`,
    `progress_magnitude`).
    """

    def before_epoch(self, trainer: Training) -> None:
        """Set the rates."""
        for layer in trainer.model.sublayers():
            rates, dropout = getattr(layer, "dropout_rate", None), getattr(layer, "_dropout", None)
            if isinstance(rates, list | tuple) and rates and isinstance(dropout, nn.Dropout):
                rate = stage(rates, trainer.progress.epoch, trainer.epochs)
                if rate != dropout.p:
                    logger.info("dropout is %g from epoch %d on", rate, trainer.progress.epoch + 1)
                dropout.p = rate
