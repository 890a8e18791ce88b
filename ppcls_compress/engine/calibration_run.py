"""Quantization of trained weights by calibration alone."""

from __future__ import annotations

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.engine import assemble
from ppcls_compress.engine.context import compression_context
from ppcls_compress.engine.loaders import training_loader
from ppcls_compress.engine.samples import still_batches
from ppcls_compress.slim import recipe

BATCHES = 8
"""Batches of `DataLoader.Train` that are calibrated on."""


def calibrated(config: Config, batches: int = BATCHES) -> tuple[paddle.nn.Layer, recipe.Record]:
    """`Global.pretrained_model` quantized as `Slim.quant` says, and its record.

    Args:
        batches: of `DataLoader.Train`, without augmentation.

    Raises:
        UserError: the weights do not fit, or cannot be quantized so.
    """
    context = compression_context(
        config,
        lambda: training_loader(config),
        calibration=lambda: still_batches(config, batches),
        calibration_batches=batches,
    )
    return assemble.build_model(config, context=context)
