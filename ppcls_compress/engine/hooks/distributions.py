"""How weights and inputs lie on their grids at the end of a run, kept for the page that it leaves."""

from __future__ import annotations

from pathlib import Path

import paddle

from ppcls_compress import io
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import step
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import one_line
from ppcls_compress.models.together import deployed
from ppcls_compress.slim import quant

FILE = "distributions.json"
"""Beside the weights: `[{"layer", "weight", "input"}, ...]`, see `quant.distributions`."""
_IMAGES = 8


class Distributions(Hook):
    """Counts, after the last epoch, what every quantized layer reads of some images of the last batch, and its weight.

    It stands behind what may end a run early.

    Args:
        folder: where `FILE` is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: paddle.Tensor | None = None

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Remember the images."""
        self._images = batch.images

    def after_epoch(self, trainer: Training) -> None:
        """Count, if it was the last one."""
        if trainer.progress.epoch == trainer.epochs or trainer.progress.stopped:
            with trainer.judged():
                keep(self._folder, deployed(trainer.model), self._images)


def keep(folder: Path, model: paddle.nn.Layer, images: paddle.Tensor) -> None:
    """Write `FILE` to a folder; a network that has no such histograms is told, and is no error."""
    try:
        with step("counting what lies where on the grids"):
            rows = quant.distributions(model, images[:_IMAGES])
    except Exception as error:  # they are for the page alone, which never fails a run
        logger.warning("no histograms of weights and inputs: %s", one_line(error))
        return
    io.write_json(folder / FILE, [row.plain() for row in rows], indent=None)
