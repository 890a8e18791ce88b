"""What training does to the learned ranges of quantizers."""

from __future__ import annotations

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.training import Training
from ppcls_compress.models.together import deployed
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions


class Quantizers(Hook):
    """Freezes what the options freeze by an epoch; tells every layer's alpha and how often it clipped."""

    def __init__(self, options: QuantOptions) -> None:
        self._options = options

    def before_epoch(self, trainer: Training) -> None:
        """Batch norms and observed ranges, once their time has come."""
        quant.start_epoch(deployed(trainer.model), self._options, trainer.progress.epoch + 1)

    def after_epoch(self, trainer: Training) -> None:
        """One line for inputs and one for weights; none for quantizers that learn no range."""
        rows = quant.statistics(deployed(trainer.model))
        inputs = [_text(row["layer"], row["alpha"], row["clip_rate"]) for row in rows if row["alpha"] is not None]
        weights = [
            _text(row["layer"], row["weight_alpha"], row["weight_clip_rate"])
            for row in rows
            if row["weight_alpha"] is not None
        ]
        for what, found in (("alpha", inputs), ("alpha of weights", weights)):
            if found:
                logger.info("%s (clipped): %s", what, ", ".join(found))


def _text(layer: str, alpha: float, clip_rate: float | None) -> str:
    return f"{layer} {alpha:.3g}" + ("" if clip_rate is None else f" ({100 * clip_rate:.2f}%)")
