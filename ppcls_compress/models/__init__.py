"""Classification backbones under PaddleClas' names, and their weights.

Importing this package does not import Paddle; building does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ppcls_compress.models import catalog

if TYPE_CHECKING:
    from paddle.nn import Layer


def build(name: str, **options: object) -> Layer:
    """A freshly initialised backbone that maps [N, C, H, W] images to [N, class_num] logits.

    Args:
        name: as in `catalog.names()`.
        options: what a config's `Arch` section says besides the name. `pretrained` and `use_ssld` are checked but load
            nothing: `ppcls_compress.models.weights` does.

    Raises:
        ConfigError: an unknown name or option.

    Example:
        >>> net = build("ResNet50_vd", class_num=10)
    """
    parsed = catalog.parse(name, options)
    arch = catalog.get(name)
    module = importlib.import_module(f"ppcls_compress.models.{arch.module}")
    return getattr(module, arch.factory)(**arch.arguments, options=parsed)
