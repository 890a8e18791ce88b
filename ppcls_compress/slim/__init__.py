"""Pruning and quantization for any `paddle.nn.Layer`; imports only Paddle and NumPy.

PaddleSlim's names are loaded when they are first used, so that `slim.options` imports without Paddle.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "PTQ": "ppcls_compress.slim.quant.ptq",
    "QAT": "ppcls_compress.slim.quant.qat",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
