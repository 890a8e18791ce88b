"""One logger for the toolkit: the terminal, and `train.log` in the run's folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

logger = logging.getLogger("ppcls_compress")

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""The terminal; a progress bar and log lines that share it do not overwrite each other."""


class _ConsoleHandler(logging.Handler):
    """Log lines above a live progress bar on a terminal, plain lines elsewhere."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if console.is_terminal:
            console.print(line, markup=False)
        else:
            sys.stderr.write(line + "\n")


@contextmanager
def logging_to(folder: Path | None = None, *, main: bool = True) -> Iterator[None]:
    """Send the toolkit's messages to the terminal and to `train.log` in `folder`, for the time of the block.

    Processes other than the main one only tell warnings, and write no file.
    """
    handlers: list[logging.Handler] = [_ConsoleHandler()]
    handlers[0].setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    if folder is not None and main:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(folder / "train.log", encoding="utf-8"))
        handlers[1].setFormatter(handlers[0].formatter)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO if main else logging.WARNING)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
