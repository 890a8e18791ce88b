"""The options of the `Slim` section, one frozen object per method.

A leaf without Paddle: the configuration imports it too, so that a YAML is checked before anything heavy is loaded.
"""

from __future__ import annotations

from ppcls_compress.slim.options_quant import LayerRule, QuantOptions

__all__ = ["LayerRule", "QuantOptions"]
