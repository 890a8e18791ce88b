"""Dry runs of many configurations, each in a process of its own that is forked from this one, where Paddle is loaded.

A process of its own gives its memory back, starts from the same state whatever ran before, and may crash alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ppcls_compress.commands.absent import without_absent_weights
from ppcls_compress.commands.common import load_checked
from ppcls_compress.errors import ForeignFileError, UserError, first_line, one_line

if TYPE_CHECKING:
    from ppcls_compress.deploy.nursery import Nursery

Status = Literal["ok", "foreign", "failed", "crashed"]

Check = Callable[[str, Sequence[str]], str]
"""A file and overrides to what was left out; raises UserError where the file is wrong."""

BATCH = 2
"""Images of a step: the fewest that batch norms can be trained on."""
STEPS = 1
"""Of training: the export that follows tells what it made of the weights."""


@dataclass(frozen=True)
class Outcome:
    """How one dry run ended.

    Attributes:
        status: `foreign` files are for another tool; `crashed` is an error that is no message for the user.
        reason: one line, why it is not ok; of one that is, what was left out.
        seconds: that it took.
        log: the last lines that a crashed one wrote, its traceback among them.
    """

    file: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    log: str = ""


def outcomes(
    files: Sequence[str],
    overrides: Sequence[str],
    *,
    workers: int,
    timeout: float,
    check: Check | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """The outcome of each file's dry run, in the order in which they end.

    Args:
        overrides: `key.path=value`, the same for all.
        check: what is done with each; None rehearses it.
        workers: how many run at a time, one thread each.
        timeout: seconds after which one is stopped.
        tick: called once a second or oftener, for a display without a thread of its own.
    """
    waiting = list(reversed(files))
    running: list[_Run] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Run(waiting.pop(), overrides, timeout, check or _rehearsed_apart))
            connection.wait([event for run in running for event in run.events], timeout=_LOOK_EVERY)
            tick()
            ended = [run for run in running if run.over]
            running = [run for run in running if run not in ended]
            for run in ended:
                yield run.outcome()
    finally:
        for run in running:
            run.stop()


_LOOK_EVERY = 1.0
_KEPT_LINES = 40


class _Run:
    """One dry run in a process of its own, which ends with this one."""

    def __init__(self, file: str, overrides: Sequence[str], timeout: float, check: Check) -> None:
        self._file = file
        self._started = time.monotonic()
        self._timeout = timeout
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115  closed when the outcome is read
        self._answer, theirs = multiprocessing.Pipe(duplex=False)
        arguments = (check, file, tuple(overrides), self._log.fileno(), theirs)
        self.process: BaseProcess = multiprocessing.get_context("fork").Process(target=_run, args=arguments)
        self.process.start()
        theirs.close()

    @property
    def over(self) -> bool:
        """Whether the process has answered or ended, or has had its time."""
        return self._answer.poll() or self.process.exitcode is not None or self._late

    @property
    def events(self) -> tuple[connection.Connection, int]:
        """What is ready once the process answers, which it does before it ends, or ends without."""
        return self._answer, self.process.sentinel

    @property
    def _late(self) -> bool:
        return time.monotonic() - self._started > self._timeout

    def stop(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()

    def outcome(self) -> Outcome:
        """What the process found, or how it ended without an answer."""
        seconds = round(time.monotonic() - self._started, 1)
        status, reason, trace = "", "", ""
        try:
            if self._answer.poll():
                status, reason, trace = self._answer.recv()
        except (EOFError, OSError):  # nothing, or half an answer
            self.process.join()  # a process that ends closes its pipe first, and can be asked how it ended later
        if not status:
            late = self.process.exitcode is None
            self.stop()
            code = self.process.exitcode
            ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            status = "crashed"
            reason = f"stopped after {self._timeout:.0f} seconds" if late else f"the process ended with {ending}"
        self.process.join()
        self._log.seek(0)
        text = self._log.read().decode("utf-8", "replace")
        self._log.close()
        log = "\n".join((text + trace).splitlines()[-_KEPT_LINES:]) if status == "crashed" else ""
        return Outcome(self._file, status, reason, seconds, log)


def _run(check: Check, file: str, overrides: Sequence[str], log: int, answer: connection.Connection) -> None:
    os.setpgid(0, 0)  # Ctrl-C is for the process that started this one, and what this one starts ends with it
    _end_with_parent()
    os.dup2(log, 1)
    os.dup2(log, 2)
    answer.send(verdict(lambda: check(file, overrides)))


def _rehearsed_apart(file: str, overrides: Sequence[str]) -> str:
    """As `rehearsed`, in a process that has computed nothing, which the one that runs the export is forked from."""
    from ppcls_compress.deploy.nursery import Nursery

    with Nursery() as nursery:
        return rehearsed(file, overrides, nursery=nursery)


def rehearsed(file: str, overrides: Sequence[str], *, nursery: Nursery | None = None) -> str:
    """`train --dry-run` of one file, one step on the smallest batch.

    Weights that are not here are no mistake of the file, nor is it one that a file is for inference alone.

    Args:
        nursery: where the process that runs the export is forked; None starts one.

    Returns:
        What was left out.

    Raises:
        UserError: as `train --dry-run` does.
    """
    from ppcls_compress.commands.dry_run import rehearse
    from ppcls_compress.commands.train import check_rehearsal

    config, absent = without_absent_weights(load_checked(file, overrides))
    inference = config.Loss is None and config.Optimizer is None
    if not inference:
        check_rehearsal(config)
    rehearse(config, largest_batch=BATCH, steps=STEPS, nursery=nursery)
    notes = ["for inference alone, not trained"] if inference else []
    return "; ".join([*notes, *(f"without the weights of {key}, which are not here" for key in absent)])


def read(file: str, overrides: Sequence[str]) -> str:
    """Check the keys, names and options of one file, and build nothing.

    Raises:
        UserError: as every command does.
    """
    load_checked(file, overrides)
    return ""


def verdict(run: Callable[[], str]) -> tuple[Status, str, str]:
    """How a function ends, why in one line, and the traceback where that is no message for the user."""
    try:
        return "ok", run(), ""
    except ForeignFileError as error:
        return "foreign", one_line(error), ""
    except UserError as error:
        return "failed", "; ".join(one_line(line) for line in str(error).splitlines()), ""
    except Exception as error:  # what a user should never see
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "crashed", f"{first_line(error)} ({Path(place.filename).name}:{place.lineno})", traceback.format_exc()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def wait() -> None:
        connection.wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
