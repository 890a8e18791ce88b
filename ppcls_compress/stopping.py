"""SIGTERM, as schedulers and `kill` send it, ends a command as Ctrl-C does: what it started and wrote is cleaned up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in this block where SIGTERM would end the process at once."""
    if not _may_handle():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def after_paddle() -> None:
    """Put back what SIGTERM does: importing Paddle replaces it, behind Python's back, by the report of a crash."""
    handler = signal.getsignal(signal.SIGTERM)
    if _may_handle() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would interrupt the cleaning up that the first one starts
    raise Terminated
