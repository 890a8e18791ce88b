"""What a person who waits is shown: on a terminal what goes on, moving; elsewhere a line a minute.

with shown("train"):                                   # once, around a command
    with step("calibrating", total=8) as calibrating:  # anywhere inside, one within another
        calibrating.advance()
    for batch in track(batches, "evaluating"):
        ...

Steps outside of `shown`, as in a library's user's program, show nothing. Does not import Paddle.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from ppcls_compress.engine.logs import console, is_quiet, logger, tell_event

T = TypeVar("T")
_LINE_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""
_NOTE_EVERY = 0.5
"""Seconds between two notes on a terminal: to read a tensor waits for the device."""
_FRAMES = 4
"""Of the display, in a second."""


class _Count(ProgressColumn):
    """`3/20`, or nothing where nobody knows how many there are."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{int(task.completed)}/{int(task.total)}")


@dataclass
class _Display:
    """A live display, and the steps that go on in it, the innermost last; only that one is shown."""

    progress: Progress
    steps: list[Step] = field(default_factory=list)


_DISPLAY: ContextVar[_Display | None] = ContextVar("display", default=None)


@contextmanager
def shown(what: str) -> Iterator[None]:
    """For the time of the block a terminal shows what goes on; `what` where no step says more.

    Nothing without a terminal, under `--quiet`, and in processes other than the first.
    """
    if not console.is_terminal or is_quiet() or os.environ.get("PADDLE_TRAINER_ID", "0") != "0":
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        _Count(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    display = _Display(
        Progress(
            *columns,
            console=console,
            transient=True,
            refresh_per_second=_FRAMES,
            redirect_stdout=sys.stdout.isatty(),  # or what is piped to a file would come to the terminal
            redirect_stderr=False,
        )
    )
    token = _DISPLAY.set(display)
    try:
        with display.progress, step(what):
            yield
    finally:
        _DISPLAY.reset(token)


class Step:
    """Something that takes a while.

    Args:
        what: in words: `evaluating`.
        total: how many parts it has; None where nobody knows.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._started = self._told = self._noted = time.monotonic()
        self._display = _DISPLAY.get()
        if self._display is not None:
            self._hide_outer(hidden=True)
            self._task = self._display.progress.add_task(what, total=total, note="")
            self._display.steps.append(self)
        tell_event("started", what=what, total=total)

    @property
    def is_shown(self) -> bool:
        """Whether a terminal shows it."""
        return self._display is not None

    @property
    def wants_note(self) -> bool:
        """Whether somebody looks, and the last note is old enough for another one."""
        return self._display is not None and time.monotonic() - self._noted >= _NOTE_EVERY

    def advance(self, count: int = 1, *, note: str | None = None, what: str | None = None) -> None:
        """So many further parts are done; a note stays until the next one, and so does what it is called."""
        self._done += count
        now = time.monotonic()
        if self._display is not None:
            fields = {} if note is None else {"note": note}
            self._noted = self._noted if note is None else now
            self._display.progress.update(self._task, advance=count, description=what, **fields)
        elif now - self._told >= _LINE_EVERY:
            self._told = now
            of = "" if self._total is None else f" of {self._total}"
            logger.info("%s: %d%s, %.0f s", what or self._what, self._done, of, now - self._started)

    def quiet(self) -> Step:
        """Itself, without lines of its own: somebody else tells them."""
        self._told = float("inf")
        return self

    def end(self) -> None:
        """It is over; to end it again does nothing."""
        if self._display is not None and self in self._display.steps:
            self._display.progress.remove_task(self._task)
            self._display.steps.remove(self)
            self._hide_outer(hidden=False)
        tell_event("finished", what=self._what, done=self._done, seconds=round(time.monotonic() - self._started, 3))

    def _hide_outer(self, *, hidden: bool) -> None:
        if self._display.steps:
            self._display.progress.update(self._display.steps[-1]._task, visible=not hidden)


@contextmanager
def step(what: str, total: int | None = None) -> Iterator[Step]:
    """A `Step` for the time of the block."""
    begun = Step(what, total)
    try:
        yield begun
    finally:
        begun.end()


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """The items, one part of a step each; their number is `len(items)` unless it is given or unknown."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with step(what, total) as running:
        for item in items:
            running.advance()
            yield item
