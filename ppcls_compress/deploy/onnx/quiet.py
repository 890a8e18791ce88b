"""The libraries that edit graphs report every pass at level info, which Paddle shows; users have no use for that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("onnx_ir", "onnxscript")


@contextmanager
def quiet() -> Iterator[None]:
    """Let the libraries tell warnings only, for the time of the block."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
