"""Structured pruning: whole channels are removed from any network, exactly.

Names are loaded when they are first used, so that the criteria, which name themselves to the options, import without
Paddle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppcls_compress.slim.prune.cut.recalibration import recalibrate
    from ppcls_compress.slim.prune.pruner import prune
    from ppcls_compress.slim.prune.record import apply_record

_HOMES = {"apply_record": "record", "prune": "pruner", "recalibrate": "cut.recalibration"}

__all__ = ["apply_record", "prune", "recalibrate"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
