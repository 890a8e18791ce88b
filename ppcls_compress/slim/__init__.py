"""Pruning and quantization for any `paddle.nn.Layer`; imports only Paddle and NumPy.

PaddleSlim's names are loaded when they are first used, so that `slim.options` imports without Paddle.
"""

from __future__ import annotations

import importlib

from ppcls_compress import paddle_version

_HOMES = {
    "AnalysisPTQ": "ppcls_compress.slim.paddleslim.analysis",
    "AnalysisQAT": "ppcls_compress.slim.paddleslim.analysis",
    "FPGMFilterPruner": "ppcls_compress.slim.paddleslim.criterion_pruners",
    "FilterPruner": "ppcls_compress.slim.paddleslim.filter_pruner",
    "L1NormFilterPruner": "ppcls_compress.slim.paddleslim.criterion_pruners",
    "L2NormFilterPruner": "ppcls_compress.slim.paddleslim.criterion_pruners",
    "PTQ": "ppcls_compress.slim.paddleslim.ptq",
    "PruningMask": "ppcls_compress.slim.paddleslim.pruning_plan",
    "PruningPlan": "ppcls_compress.slim.paddleslim.pruning_plan",
    "QAT": "ppcls_compress.slim.paddleslim.qat",
    "Status": "ppcls_compress.slim.prune.sensitivity",
    "dygraph_flops": "ppcls_compress.slim.cost",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        paddle_version.check()
        return getattr(importlib.import_module(_HOMES[name]), name)
    from ppcls_compress.slim.paddleslim.elsewhere import INSTEAD

    if name in INSTEAD:
        # No AttributeError, for which `from ... import` has a text of its own.
        raise ImportError(f"{__name__} has no {name} of PaddleSlim's: {INSTEAD[name]}", name=name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
