"""One logger for the toolkit: the terminal, `train.log` in the run's folder, and events as lines of JSON.

Does not import Paddle.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ppcls_compress import io
from ppcls_compress.errors import UserError

logger = logging.getLogger("ppcls_compress")

_EVENTS = logging.getLogger("ppcls_compress.events")
"""What only `--json-log` tells: numbers of each batch, steps that begin and end."""
_EVENTS.propagate = False
_EVENTS.setLevel(logging.CRITICAL)  # until somebody listens
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""The terminal; a progress bar and log lines that share it do not overwrite each other."""


class _ConsoleHandler(logging.Handler):
    """Log lines above a live display on a terminal, plain lines elsewhere.

    A forked process writes plain lines too: the thread that draws may have held the terminal's lock at that moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if console.is_terminal and os.getpid() == self._process:
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


class _JsonFormatter(logging.Formatter):
    """An event or a message as one line of JSON; what is not finite becomes null."""

    def format(self, record: logging.LogRecord) -> str:
        told = getattr(record, "event", None) or {
            "event": "message",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, **_finite(told)}, ensure_ascii=False, default=float)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tell_event(event: str, **numbers: Any) -> None:
    """One line for `--json-log`, which nobody else is told: what happened, and its numbers, texts and lists."""
    if _EVENTS.isEnabledFor(logging.INFO):
        _EVENTS.info("", extra={"event": {"event": event, **numbers}})


def is_quiet() -> bool:
    """Whether only warnings, errors and results are told."""
    return _QUIET.get()


@contextmanager
def reporting(*, quiet: bool = False, json_log: str | Path | None = None) -> Iterator[None]:
    """How a command tells what it does, for the time of the block.

    Args:
        quiet: nothing but warnings, errors and results.
        json_log: a file to which messages and events are added, a line of JSON each; None for no such file.

    Raises:
        UserError: the file cannot be written.
    """
    token, level = _QUIET.set(quiet), _EVENTS.level
    handler = None
    try:
        if json_log is not None and os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
            handler = _opened(Path(json_log), _JsonFormatter())
            for source in (logger, _EVENTS):
                source.addHandler(handler)
            _EVENTS.setLevel(logging.INFO)
        yield
    finally:
        _QUIET.reset(token)
        _EVENTS.setLevel(level)
        if handler is not None:
            for source in (logger, _EVENTS):
                source.removeHandler(handler)
            handler.close()


def _opened(path: Path, formatter: logging.Formatter) -> _FileHandler:
    io.make_folder(path.parent)
    try:
        handler = _FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    handler.setFormatter(formatter)
    return handler


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
    if is_quiet():
        handlers[0].setLevel(logging.WARNING)
    if folder is not None and main:
        handlers.append(_opened(Path(folder) / "train.log", handlers[0].formatter))
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
