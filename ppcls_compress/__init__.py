"""Compress PaddlePaddle image classifiers: FPGM pruning, PACT quantization-aware training, verified export.

import ppcls_compress as pc

small, record = pc.compress(net, {"prune": {"pruned_ratio": 0.3}, "quant": {"name": "pact"}},
                            example=[1, 3, 224, 224], batches=loader)
...                                                    # fine-tune `small` like any paddle.nn.Layer
pc.save(small, record, "small")
small, record = pc.load(fresh_net, "small")            # the structure comes from the record
pc.export(small, "inference", record=record, formats=["paddle"], check=images)

What is named here is loaded when it is first used: importing the package does not load Paddle. It lets Paddle's matrix
products use all instructions of AMD's processors, by an environment variable (`ppcls_compress.machine.KERNELS`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ppcls_compress import machine

if TYPE_CHECKING:
    from ppcls_compress.api import analyze, benchmark, compress, export, load, save
    from ppcls_compress.deploy.predictor import Predictor
    from ppcls_compress.errors import ConfigError, UserError

__version__ = "0.1.0"

machine.let_paddle_use_it()

__all__ = [
    "ConfigError",
    "Predictor",
    "UserError",
    "__version__",
    "analyze",
    "benchmark",
    "compress",
    "export",
    "load",
    "save",
]

_HOMES = {
    "ConfigError": "errors",
    "UserError": "errors",
    "Predictor": "deploy.predictor",
    **dict.fromkeys(("analyze", "benchmark", "compress", "export", "load", "save"), "api"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
