"""The options of the `Slim` section, one frozen object per method.

A leaf without Paddle: the configuration imports it too, so that a YAML is checked before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppcls_compress.slim.options.prune import IterativeOptions, PruneOptions
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.options.rules import LayerRule

__all__ = ["IterativeOptions", "LayerRule", "PruneOptions", "QuantOptions", "SlimOptions"]


@dataclass(frozen=True)
class SlimOptions:
    """What is done to a model, in this order; None leaves a step out. `slim.steps` says what a step is."""

    prune: PruneOptions | None = None
    quant: QuantOptions | None = None
