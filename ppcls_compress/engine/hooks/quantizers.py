"""What training does to the learned ranges of quantizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppcls_compress.engine.epoch_file import EpochFile
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.logs import logger, tell_event
from ppcls_compress.engine.training import Training
from ppcls_compress.models.together import deployed
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

FILE = "quantizers.jsonl"
"""In a run's folder: a line of JSON for each epoch, `{"epoch", "layers": [...]}`, see `quant.statistics`."""


class Quantizers(Hook):
    """Freezes what the options freeze by an epoch; keeps every layer's alpha and how often it clipped.

    Args:
        folder: where `FILE` is kept; None keeps none.
    """

    def __init__(self, options: QuantOptions, folder: Path | None = None) -> None:
        self._options = options
        self._start: list[dict[str, Any]] = []
        self._file = EpochFile(None if folder is None else folder / FILE)

    def before_training(self, trainer: Training) -> None:
        """Go on with the file of a run that is resumed."""
        self._file.go_on(trainer.progress.epoch)
        self._start = quant.statistics(deployed(trainer.model))

    def before_epoch(self, trainer: Training) -> None:
        """Batch norms and observed ranges, once their time has come."""
        quant.start_epoch(deployed(trainer.model), self._options, trainer.progress.epoch + 1)

    def after_epoch(self, trainer: Training) -> None:
        """All layers to the file; a line for inputs and one for weights, none for quantizers that learn no range."""
        rows = quant.statistics(deployed(trainer.model))
        where = "" if self._file.path is None else f"; all in {self._file.path}"
        told = False
        for what, alpha, clipped in (("alpha", "alpha", "clip_rate"), ("alpha of weights", *_OF_WEIGHTS)):
            found = [row for row in rows if row[alpha] is not None]
            if found:
                logger.info("%s (clipped): %s%s", what, _summary(found, alpha, clipped), where)
                self._tell_lost(found, what, alpha, clipped)
                told = True
        if told:
            tell_event("quantizers", epoch=trainer.progress.epoch, layers=rows)
            self._file.keep(trainer.progress.epoch, layers=rows)

    def _tell_lost(self, rows: Sequence[dict[str, Any]], what: str, alpha: str, clipped: str) -> None:
        start = {row["layer"]: row[alpha] or 0.0 for row in self._start}
        # Clipping much alone is no sign: white paper lies at the upper end, and beyond it as soon as that has moved.
        shrunk = [row for row in rows if row[alpha] < _SHRUNK * start.get(row["layer"], 0.0)]
        lost = [row for row in shrunk if (row[clipped] or 0) > _MOST]
        if lost:
            worst = max(lost, key=lambda row: row[clipped])
            frozen = isinstance(self._options.freeze_bn_epoch, int)
            logger.warning(
                "%s: %d of %d layers have less than a tenth of the range that they began with and clip most of their "
                "values, %s %.0f%%: this training falls apart; a smaller Optimizer.lr.learning_rate helps%s",
                what,
                len(lost),
                len(rows),
                worst["layer"],
                100 * worst[clipped],
                ", or Slim.quant.freeze_bn_epoch: never" if frozen else "",
            )


_MOST, _SHRUNK = 0.5, 0.1
_OF_WEIGHTS = ("weight_alpha", "weight_clip_rate")


def _summary(rows: Sequence[dict[str, Any]], alpha: str, clipped: str) -> str:
    """From which layer's to which, and where most is clipped."""
    rows = sorted(rows, key=lambda row: row[alpha])
    ends = " to ".join(f"{row[alpha]:.3g} ({row['layer']})" for row in (rows[0], rows[-1]))
    rated = [row for row in rows if row[clipped] is not None]
    most = max(rated, key=lambda row: row[clipped], default=None)
    share = "" if most is None else f", at most {100 * most[clipped]:.2f}% ({most['layer']})"
    return f"{len(rows)} layers, {ends}{share}"
