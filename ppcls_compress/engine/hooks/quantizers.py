"""What training does to the learned ranges of quantizers."""

from __future__ import annotations

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions


class Quantizers(Hook):
    """Freezes what the options freeze by an epoch; tells every layer's alpha and how often it clipped."""

    def __init__(self, options: QuantOptions) -> None:
        self._options = options

    def before_epoch(self, trainer: Trainer) -> None:
        """Batch norms and observed ranges, once their time has come."""
        quant.start_epoch(trainer.model, self._options, trainer.progress.epoch + 1)

    def after_epoch(self, trainer: Trainer) -> None:
        """One line; nothing for quantizers that learn no range."""
        rows = [row for row in quant.statistics(trainer.model) if row["alpha"] is not None]
        if rows:
            logger.info("alpha (clipped): %s", ", ".join(_row(row) for row in rows))


def _row(row: dict) -> str:
    clipped = "" if row["clip_rate"] is None else f" ({100 * row['clip_rate']:.2f}%)"
    return f"{row['layer']} {row['alpha']:.3g}{clipped}"
