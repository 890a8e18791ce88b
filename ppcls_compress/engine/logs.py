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
from collections.abc import Iterator, Sequence
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
    try:
        if json_log is None or os.environ.get("PADDLE_TRAINER_ID", "0") != "0":
            yield
            return
        with _opened(Path(json_log), _JsonFormatter()) as handler, _listening(handler, (logger, _EVENTS)):
            _EVENTS.setLevel(logging.INFO)
            yield
    finally:
        _QUIET.reset(token)
        _EVENTS.setLevel(level)


@contextmanager
def _listening(handler: logging.Handler, sources: Sequence[logging.Logger]) -> Iterator[None]:
    for source in sources:
        source.addHandler(handler)
    try:
        yield
    finally:
        for source in sources:
            source.removeHandler(handler)


@contextmanager
def _opened(path: Path, formatter: logging.Formatter) -> Iterator[_FileHandler]:
    """A log that is added to; where the block fails before a line is written, what was made for it goes again.

    Opened at once, so that a file that cannot be written is told before anything is computed.
    """
    made = io.missing_folders(path.parent)
    fresh = not os.path.lexists(path)
    try:
        io.make_folder(path.parent)
        try:
            handler = _FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        handler.setFormatter(formatter)
        with contextlib.closing(handler):
            yield handler
    except BaseException:
        with contextlib.suppress(OSError):
            if fresh and path.stat().st_size == 0:
                path.unlink()
        io.remove_empty(made)
        raise


@contextmanager
def logging_to(folder: Path | None = None, *, main: bool = True, verbose: bool = False) -> Iterator[None]:
    """Send the toolkit's messages to the terminal and to `train.log` in `folder`, for the time of the block.

    Processes other than the main one only tell warnings, and write nothing but the error that ends them, which is all
    that is known of it where the main one is stopped meanwhile. `verbose` adds messages of level debug. Where the block
    fails before a line is written, no empty file stays, and no folder that was made for it.

    Raises:
        UserError: the folder or the file cannot be written.
    """
    console_lines = _ConsoleHandler()
    console_lines.setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    if is_quiet():
        console_lines.setLevel(logging.WARNING)
    level, propagate = logger.level, logger.propagate
    told = logging.DEBUG if verbose else logging.INFO
    with contextlib.ExitStack() as opened:
        opened.enter_context(contextlib.closing(console_lines))
        handlers: list[logging.Handler] = [console_lines]
        if folder is not None and main:
            handlers.append(opened.enter_context(_opened(Path(folder) / "train.log", console_lines.formatter)))
        logger.setLevel(told if main else logging.WARNING)
        logger.propagate = False
        for handler in handlers:
            opened.enter_context(_listening(handler, (logger,)))
        try:
            yield
        except UserError as error:
            if folder is not None and not main:
                _tell_main(folder / "train.log", str(error), console_lines.formatter)
            raise
        finally:
            logger.setLevel(level)
            logger.propagate = propagate


def _tell_main(path: Path, text: str, formatter: logging.Formatter) -> None:
    number = os.environ.get("PADDLE_TRAINER_ID", "?")
    record = logging.LogRecord(logger.name, logging.ERROR, "", 0, "process %s: %s", (number, text), None)
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(formatter.format(record) + "\n")
