"""Signals that end a command, as schedulers, terminals and `kill` send them: what it started and wrote is cleaned up.

SIGTERM and SIGHUP end it as Ctrl-C (SIGINT) does; the exit code is 128 and the signal's number.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C's came that ends the process.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in this block where SIGTERM or SIGHUP would end the process at once."""
    with _handled(_ENDING, _raise):
        yield


@dataclass
class Request:
    """Whether a signal asks this process to stop when it can.

    Attributes:
        number: of the signal; None before one has come.
    """

    number: int | None = None

    def honour(self) -> None:
        """Stop now, if that was asked for.

        Raises:
            KeyboardInterrupt: after SIGINT.
            Terminated: after another signal.
        """
        if self.number is not None:
            raise _exception(self.number)


@contextmanager
def postponed() -> Iterator[Request]:
    """While this block runs, the first signal is only noted; a second one stops at once."""
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            _raise(number, frame)
        request.number = number

    with _handled((*_ENDING, signal.SIGINT), note):
        yield request


@contextmanager
def held() -> Iterator[None]:
    """Signals that end a command wait until this block is left; processes that are started in it wait for `dropped`.

    Blocking is a thread's own affair, and any other thread may be given the signal: its handler waits as well.
    """
    numbers, owner, came = (*_ENDING, signal.SIGINT), os.getpid(), []
    earlier = {number: signal.getsignal(number) for number in numbers}

    def wait(number: int, _: object) -> None:
        if os.getpid() == owner:
            came.append(number)
        else:  # in a process that was started here
            signal.signal(number, earlier[number])
            signal.raise_signal(number)

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        with _handled([number for number in numbers if earlier[number] is not None], wait):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number in came:
            signal.raise_signal(number)


def dropped() -> None:
    """In a process that was started while signals were held: forget those that came, and take the next ones."""
    numbers = (*_ENDING, signal.SIGINT)
    while signal.sigtimedwait(numbers, 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def after_paddle() -> None:
    """Put back what SIGTERM does: importing Paddle replaces it, behind Python's back, by the report of a crash."""
    handler = signal.getsignal(signal.SIGTERM)
    if _may_handle() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _handled(numbers: Sequence[int], handler: object) -> Iterator[None]:
    if not _may_handle():
        yield
        return
    earlier = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()


def _raise(number: int, frame: FrameType | None) -> None:
    for ending in (*_ENDING, signal.SIGINT):
        signal.signal(ending, signal.SIG_IGN)  # another one would interrupt the cleaning up that this one starts
    raise _exception(number)


def _exception(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
