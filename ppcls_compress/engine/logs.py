"""One logger for the toolkit: the terminal, and `train.log` in the run's folder."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ppcls_compress import io
from ppcls_compress.errors import UserError

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


class _FileHandler(logging.FileHandler):
    """Ends the run with one line when the file cannot be written, where `logging` tells a traceback per message."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise self._unwritable(sys.exception())

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: BaseException | None) -> UserError:
        return UserError(f"{self.baseFilename}: cannot be written: {getattr(error, 'strerror', None) or error}")


@contextmanager
def logging_to(folder: Path | None = None, *, main: bool = True, verbose: bool = False) -> Iterator[None]:
    """Send the toolkit's messages to the terminal and to `train.log` in `folder`, for the time of the block.

    Processes other than the main one only tell warnings, and write nothing but the error that ends them, which is all
    that is known of it where the main one is stopped meanwhile. `verbose` adds messages of level debug.

    Raises:
        UserError: the folder or the file cannot be written.
    """
    handlers: list[logging.Handler] = [_ConsoleHandler()]
    handlers[0].setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    if folder is not None and main:
        path = io.make_folder(folder) / "train.log"
        try:
            handlers.append(_FileHandler(path, encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        handlers[1].setFormatter(handlers[0].formatter)
    level, propagate = logger.level, logger.propagate
    told = logging.DEBUG if verbose else logging.INFO
    logger.setLevel(told if main else logging.WARNING)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    except UserError as error:
        if folder is not None and not main:
            _tell_main(folder / "train.log", str(error), handlers[0].formatter)
        raise
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        for handler in handlers:
            logger.removeHandler(handler)
        for handler in handlers:
            handler.close()


def _tell_main(path: Path, text: str, formatter: logging.Formatter) -> None:
    number = os.environ.get("PADDLE_TRAINER_ID", "?")
    record = logging.LogRecord(logger.name, logging.ERROR, "", 0, "process %s: %s", (number, text), None)
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(formatter.format(record) + "\n")
